// The main job with generated types; the README shows how it begins.
//
// `URL` says where the service is, `KEY` who calls; its model `stub` takes as long as the prompt
// says.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./vibecoder.js";

type Schemas = components["schemas"];
type Happening = Schemas["EventData"] & { event: Schemas["EventKind"] };

const { URL, KEY } = process.env;
assert(URL && KEY);

const headers = { Authorization: `Bearer ${KEY}` };
const api = createClient<paths, `application/${string}`>({ baseUrl: URL, headers });
const project = await api.POST("/projects", { body: { name: "Customer support" } });
if (!project.data) throw new Error(project.error.detail);
const of = { path: { project_id: project.data.id } };
const session = await api.POST("/projects/{project_id}/sessions", { params: of });
if (!session.data) throw new Error(session.error.detail);
const on = { path: { session_id: session.data.session_id } };
const body = { prompt: "Create a triage agent" };
const message = await api.POST("/sessions/{session_id}/messages", { params: on, body });
if (!message.data) throw new Error(message.error.detail);
console.log(message.data.reply);

async function* happenings(stream: ReadableStream<Uint8Array>): AsyncGenerator<Happening> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of stream) {
    const frames = (text + decoder.decode(piece, { stream: true })).split("\n\n");
    text = frames.pop() ?? "";
    for (const frame of frames) {
      const event = /^event: (.*)$/m.exec(frame)?.[1] as Schemas["EventKind"];
      const data = JSON.parse(/^data: (.*)$/m.exec(frame)?.[1] ?? "") as Schemas["EventData"];
      yield { event, ...data };
    }
  }
}

async function theReplyCameWithAChangeOfTheCode(created: Schemas["MessageOut"]): Promise<void> {
  assert.equal(created.status, "completed");
  assert(created.usage && created.usage.total_tokens > 0);
  const code = await api.GET("/projects/{project_id}/code", { params: of, parseAs: "text" });
  assert(code.data?.includes("triage"));
  const workflow = await api.GET("/projects/{project_id}/workflow", { params: of });
  assert.deepEqual(workflow.data?.nodes.map((node) => node.node_id), ["triage"]);
  const path = { message_id: created.message_id };
  const full = await api.GET("/messages/{message_id}/full", { params: { path } });
  assert.deepEqual(full.data?.tool_calls.map((call) => call.name), ["apply_patch"]);
}

async function aMessageThatIsSentAgainWithItsKeyIsTheSame(): Promise<void> {
  const params = { ...on, header: { "Idempotency-Key": "spanish" } };
  const sent = { params, body: { prompt: "Make it Spanish" } };
  const first = await api.POST("/sessions/{session_id}/messages", sent);
  const again = await api.POST("/sessions/{session_id}/messages", sent);
  assert(first.data);
  assert.deepEqual(first.data, again.data);
  assert.equal(again.response.headers.get("Idempotency-Replayed"), "true");
  const listed = await api.GET("/sessions/{session_id}/messages", { params: on });
  assert.deepEqual(listed.data?.map((entry) => entry.content), [body.prompt, sent.body.prompt]);
}

async function aMessageCanBeWatched(): Promise<void> {
  const sent = await api.POST("/sessions/{session_id}/messages", {
    params: { ...on, header: { Prefer: "respond-async" } },
    body: { prompt: "Add a billing agent and let triage hand off to it" },
  });
  assert.equal(sent.response.status, 202);
  assert(sent.data);
  const path = { message_id: sent.data.message_id };
  const watched = await api.GET("/messages/{message_id}/events", {
    params: { path },
    parseAs: "stream",
  });
  assert(watched.data);
  const seen: Schemas["EventKind"][] = [];
  let text = "";
  for await (const { event, text: piece, message: ended } of happenings(watched.data)) {
    seen.push(event);
    text += piece ?? "";
    if (event === "completed") assert.equal(ended?.reply, text);
  }
  assert.deepEqual([seen[0], seen.at(-1)], ["queued", "completed"]);
  assert(seen.includes("code_changed"));
}

async function aQueuedMessageCanBeCancelled(): Promise<void> {
  const slow = {
    params: { ...on, header: { Prefer: "respond-async" } },
    body: { prompt: "[[delay 30]]", model: "stub" },
  };
  await api.POST("/sessions/{session_id}/messages", slow);
  const queued = await api.POST("/sessions/{session_id}/messages", slow);
  assert(queued.data);
  assert.deepEqual([queued.data.status, queued.data.position], ["queued", 1]);
  const path = { message_id: queued.data.message_id };
  const ended = await api.POST("/messages/{message_id}/cancel", { params: { path } });
  assert.deepEqual([ended.data?.status, ended.data?.error?.code], ["cancelled", "cancelled"]);
}

async function whatIsWrongIsAProblem(): Promise<void> {
  const empty = await api.POST("/sessions/{session_id}/messages", {
    params: on,
    body: { prompt: "" },
  });
  const problem: Schemas["Problem"] | undefined = empty.error;
  assert.deepEqual([problem?.status, problem?.code], [422, "invalid_request"]);
  assert.deepEqual(problem?.errors?.map((part) => part.pointer), ["#/prompt"]);
}

async function whatWasSpentIsTold(): Promise<void> {
  const usage = await api.GET("/sessions/{session_id}/usage", { params: on });
  assert(usage.data && usage.data.totals.input_tokens > 0);
}

async function aSessionCanBeClearedAndAProjectDeleted(): Promise<void> {
  const cleared = await api.DELETE("/sessions/{session_id}", { params: on });
  assert.equal(cleared.data?.status, "cleared");
  const deleted = await api.DELETE("/projects/{project_id}", { params: of });
  assert.equal(deleted.data?.status, "deleted");
  const gone = await api.GET("/projects/{project_id}", { params: of });
  assert.equal(gone.error?.code, "project_not_found");
}

await theReplyCameWithAChangeOfTheCode(message.data);
await aMessageThatIsSentAgainWithItsKeyIsTheSame();
await aMessageCanBeWatched();
await aQueuedMessageCanBeCancelled();
await whatIsWrongIsAProblem();
await whatWasSpentIsTold();
await aSessionCanBeClearedAndAProjectDeleted();
console.log("All of it was done.");
