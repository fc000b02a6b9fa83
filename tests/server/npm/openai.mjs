// openai-node against /v1: an answer whole and streamed, an error, and a client that leaves.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.URL_}/v1`, apiKey: process.env.KEY });
const request = { model: "facilitair/alone", messages: [{ role: "user", content: "Sort a list" }] };
const brief = { ...request, facilitair: { models: "openai/brief" } };

const whole = await client.chat.completions.create(brief);
const stream = await client.chat.completions.create({ ...brief, stream: true, stream_options: { include_usage: true } });
let content = "";
let usage = null;
for await (const chunk of stream) {
  content += chunk.choices[0]?.delta.content ?? "";
  usage = chunk.usage ?? usage;
}

const refused = await client.chat.completions.create({ ...brief, model: "gpt-4o" }).catch((error) => error);

const leaving = await client.chat.completions.create({
  ...request,
  facilitair: { models: "openai/steady" },
  stream: true,
});
let chunks = 0;
for await (const _ of leaving) {
  chunks += 1;
  if (chunks === 2) break;
}

console.log(
  JSON.stringify({
    whole: whole.choices[0].message.content,
    whole_usage: whole.usage,
    streamed: content,
    streamed_usage: usage,
    refused: { kind: refused.constructor.name, status: refused.status, message: refused.message },
    chunks,
  }),
);
