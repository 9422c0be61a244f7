// What to say first, in words that the offline model understands too.

import { button, h } from "./dom.js";
import { address } from "./route.js";

const FIRST = [
  ["Help desk", "Create a support agent that answers questions about orders"],
  ["Triage and billing", "Create a triage agent and a billing agent, and let triage hand off to billing"],
  ["Translator", "Create a translator agent and make it Spanish"],
];

/** Offer the first prompts of an empty project, or of an agent's empty session. */
export function starters(session, offline, say) {
  if (session?.forked_from_message_id) return goingOn(session.forked_from_message_id);
  const node = session?.node_id;
  const offered = node ? forNode(node) : FIRST;
  return h("div", { class: "starters" },
    h("h1", {}, node ? `Talk about ${node}` : "What shall the workflow do?"),
    h("p", { class: "muted" }, node
      ? "In this session VibeCoder changes this agent only; all others it can read."
      : "Say it in your words. VibeCoder writes the agents, their tools and handoffs, as Python that uses the OpenAI Agents SDK."),
    h("div", { class: "offers" }, offered.map(([title, prompt]) =>
      h("button", { type: "button", class: "offer", onclick: () => say(prompt, title) },
        h("strong", {}, title), h("span", {}, prompt)))),
    offline && offlineNote());
}

/** Say what a fork remembers: its list of messages is empty, its memory is not. */
const goingOn = (message) => h("div", { class: "starters" },
  h("h1", {}, "Go on from there"),
  h("p", { class: "muted" }, "VibeCoder remembers what was said up to ",
    h("a", { href: address({ message }) }, "this message"), "; what you say here stays here."));

/** Say the same in a line. */
export function offlineLine() {
  return h("p", { class: "offline-note" },
    "The offline model answers: a small set of rules. For a real one: ",
    h("code", {}, "OPENAI_API_KEY=… make run"));
}

/** Offer what to say next while a workflow is young. */
export function followUps(session, nodes, say) {
  const first = nodes.find((each) => each.handoffs.length) || nodes[0];
  const last = nodes.at(-1);
  const without = nodes.find((each) => !each.tools.length);
  if (!first) return [];
  const offered = session?.node_id
    ? forNode(session.node_id).map(([, prompt]) => prompt)
    : [
        !nodes.some((each) => each.node_id === "refund") && `Add a refund agent and let ${first.node_id} hand off to it`,
        without && `Give ${without.node_id} a tool named lookup_order`,
        !/Spanish/.test(last.instructions) && `Make ${last.node_id} Spanish`,
        "What does this workflow do?",
      ];
  return offered.filter(Boolean).map((prompt) =>
    button(prompt, { text: prompt, class: "small follow-up", onclick: () => say(prompt) }));
}

const forNode = (node) => [
  ["Language", `Make ${node} Spanish`],
  ["Manner", `Tell ${node} to be brief and friendly`],
  ["Tool", `Give ${node} a tool named lookup_order`],
];

/** Say who answers while no real model is set, and how to use one. */
export function offlineNote() {
  return h("p", { class: "offline-note" },
    h("strong", {}, "The model is “offline”: "),
    "a small set of rules, for the first steps. To talk to a real model, stop the service and start it with ",
    h("code", {}, "OPENAI_API_KEY=… make run"), ", or with ", h("code", {}, "OPENAI_BASE_URL"),
    " for any server that speaks OpenAI’s API.");
}
