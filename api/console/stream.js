// The events of a message, as they happen; a lost connection is taken up again where it broke.

import { request } from "./api.js";

const ENDS = new Set(["completed", "failed", "cancelled"]);
const AGAIN_MS = 1000;

/** Yield `{id, kind, data}` until the message has ended or the signal is given. */
export async function* watch(messageId, signal, onConnection = () => {}) {
  let last = 0;
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": `${last}` }) };
      const answer = await request(`/messages/${messageId}/events`, { headers, signal });
      if (answer.status === 204) return;
      onConnection(true);
      for await (const event of parse(answer.body)) {
        last = event.id;
        yield event;
        if (ENDS.has(event.kind)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status >= 400 && error.status < 500) throw error;
    }
    onConnection(false);
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

/** Read server-sent events; comments and what has no id are none. */
export async function* parse(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      buffer += value;
      const frames = buffer.split("\n\n");
      buffer = frames.pop();
      for (const frame of frames) {
        const fields = Object.fromEntries(frame.split("\n").map(field));
        if (fields.id) {
          yield { id: Number(fields.id), kind: fields.event, data: JSON.parse(fields.data) };
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function field(line) {
  const colon = line.indexOf(": ");
  return [line.slice(0, colon), line.slice(colon + 2)];
}
