// @microsoft/fetch-event-source, which a page gives an `onmessage` that parses every message it gets.
import { fetchEventSource } from "@microsoft/fetch-event-source";

// It was written for pages; what it needs of one is this.
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
globalThis.window = { setTimeout, clearTimeout, fetch };

const seen = { opened: 0, types: [], ids: [], unreadable: 0 };
const stop = new AbortController();
await fetchEventSource(process.env.URL_ + process.env.PATH_, {
  headers: { "X-API-Key": process.env.KEY },
  signal: stop.signal,
  async onopen() {
    seen.opened += 1;
  },
  onmessage(message) {
    try {
      seen.types.push(JSON.parse(message.data).type);
      seen.ids.push(Number(message.id.split(":")[1]));
    } catch {
      seen.unreadable += 1;
    }
  },
  onclose() {},
  onerror(error) {
    throw error;
  },
});
console.log(JSON.stringify(seen));
