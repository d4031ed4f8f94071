// The body of `POST /jobs` from what was filled in. Pure.

import type { WorkflowDocument } from "./picture/event.ts";

export interface Draft {
  kind: "chat" | "workflow";
  input: string;
  model: string;
  instructions: string;
  /** Names of the tools to offer. */
  tools: string[];
  /** Of those, the ones to ask about before each call. */
  approve: string[];
  thread: string;
  limits: Record<LimitName, string>;
  /** A document as pasted or loaded. */
  document: string;
  /** Of one from the catalogue. */
  workflowId: string;
}

export type LimitName = "max_turns" | "deadline_seconds" | "max_total_tokens" | "max_cost_usd";

export const EMPTY_DRAFT: Draft = {
  kind: "chat",
  input: "",
  model: "",
  instructions: "",
  tools: [],
  approve: [],
  thread: "",
  limits: { max_turns: "", deadline_seconds: "", max_total_tokens: "", max_cost_usd: "" },
  document: "",
  workflowId: "",
};

/** What the values of `metadata` may have of characters. */
const TITLE_CHARS = 512;

/** A pasted document, or why it cannot be one. */
export function readDocument(text: string): { document: WorkflowDocument } | { problem: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { problem: `This is not JSON: ${(error as Error).message}` };
  }
  const { nodes, edges } = (value ?? {}) as Partial<WorkflowDocument>;
  if (!Array.isArray(nodes) || !Array.isArray(edges)) {
    return { problem: "A workflow document has `nodes` and `edges`; this JSON has not." };
  }
  if (!nodes.every((node) => typeof node?.id === "string" && typeof node.type === "string")) {
    return { problem: "Every node of a workflow needs an `id` and a `type`." };
  }
  return { document: value as WorkflowDocument };
}

export function body(draft: Draft): Record<string, unknown> {
  const result: Record<string, unknown> = { input: draft.input };
  const put = (name: string, value: unknown) => {
    if (value !== "" && value !== undefined) {
      result[name] = value;
    }
  };
  put("model", draft.model.trim());
  put("thread_id", draft.thread.trim());
  if (draft.kind === "chat") {
    put("instructions", draft.instructions.trim());
  } else if (draft.workflowId !== "") {
    result.workflow_id = draft.workflowId;
  } else {
    result.workflow = (readDocument(draft.document) as { document?: WorkflowDocument }).document;
  }
  if (draft.tools.length > 0) {
    result.tools = draft.tools;
  }
  const approve = draft.approve.filter((name) => draft.tools.includes(name));
  if (approve.length > 0) {
    result.approval = Object.fromEntries(approve.map((name) => [name, "always"]));
  }
  const limits = Object.entries(draft.limits).filter(([, value]) => value.trim() !== "");
  if (limits.length > 0) {
    result.limits = Object.fromEntries(limits.map(([name, value]) => [name, Number(value)]));
  }
  // The API keeps a job's input to itself: what it is about is told to whoever looks later by its metadata.
  const title = cut(draft.input.trim(), TITLE_CHARS);
  if (title !== "") {
    result.metadata = { title };
  }
  return result;
}

/** `text` with at most `most` characters, counted as the API counts. */
export function cut(text: string, most: number): string {
  const points = [...text];
  return points.length <= most ? text : `${points.slice(0, most - 1).join("")}…`;
}
