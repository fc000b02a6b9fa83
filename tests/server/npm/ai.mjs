// The AI SDK against /v1: the debate as reasoning, the answer as text, and a run that fails.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { streamText } from "ai";

async function play(model, facilitair) {
  const provider = createOpenAICompatible({
    name: "facilitair",
    baseURL: `${process.env.URL_}/v1`,
    apiKey: process.env.KEY,
    transformRequestBody: (body) => ({ ...body, facilitair }),
  });
  const seen = { reasoning: "", text: "", errors: [] };
  const result = streamText({ model: provider(model), prompt: "Sort a list", onError: () => {} });
  for await (const part of result.fullStream) {
    if (part.type === "reasoning-delta") seen.reasoning += part.text;
    if (part.type === "text-delta") seen.text += part.text;
    if (part.type === "error") seen.errors.push(String(part.error?.message ?? part.error));
  }
  return seen;
}

const good = await play("facilitair/alone", { models: "openai/brief" });
const failed = await play("facilitair/alone", { models: "openai/steady", timeout: 0.3 });
console.log(JSON.stringify({ good, failed }));
