// eventsource with a ticket: its connection is cut once behind the third event, and it comes back by itself.
import { EventSource } from "eventsource";

const seen = { connections: 0, ids: [], closed: false };
const source = new EventSource(process.env.URL_ + process.env.PATH_, {
  async fetch(url, init) {
    seen.connections += 1;
    const cut = seen.connections === 1;
    const response = await fetch(url, init);
    if (!cut || !response.body) return response;
    let left = 3;
    const text = new TextDecoderStream();
    const cutting = new TransformStream({
      transform(piece, controller) {
        for (const part of piece.split(/(?<=\n\n)/)) {
          controller.enqueue(part);
          if (part.endsWith("\n\n") && --left === 0) return controller.terminate();
        }
      },
    });
    const body = response.body.pipeThrough(text).pipeThrough(cutting).pipeThrough(new TextEncoderStream());
    return new Response(body, { status: response.status, headers: response.headers });
  },
});
const types = process.env.TYPES.split(",");
await new Promise((done) => {
  for (const type of types) source.addEventListener(type, (event) => seen.ids.push(Number(event.lastEventId.split(":")[1])));
  source.addEventListener("error", () => {
    if (source.readyState === source.CLOSED) done();
  });
});
seen.closed = source.readyState === source.CLOSED;
console.log(JSON.stringify(seen));
process.exit(0);
