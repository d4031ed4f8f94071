// What the answer to a request sends. Pure.

import type { InputRequest, RequestOption } from "./picture/event.ts";

/** An action as it is sent, and whether the form's data goes with it. */
export interface Sent {
  action: string;
  withData: boolean;
}

/** Whether there is a form: an edited call is edited as a text instead. */
export function takesData(request: InputRequest): boolean {
  return request.kind === "input" || request.kind === "client_tool" || (request.input_schema !== undefined && !isCall(request));
}

/** Whether a call is to be approved. */
export function isCall(request: InputRequest): boolean {
  return request.kind === "approval" && request.tool_call !== undefined && request.tool_call !== null;
}

/** What an option sends. `changed`: whether something was put into the form. */
export function sent(request: InputRequest, option: RequestOption, changed: boolean): Sent {
  // To approve in a review is to let the output stand: what was put in its place is a change.
  if (request.kind === "review" && option.action === "approve" && takesData(request) && changed) {
    return { action: "modify", withData: true };
  }
  // An option of its own is named by its id; the standard actions are named as such.
  const action = request.options?.length ? option.id : option.action;
  const approves = option.action === "approve" && request.kind !== "review" && takesData(request);
  return { action, withData: option.action === "submit" || option.action === "modify" || approves };
}
