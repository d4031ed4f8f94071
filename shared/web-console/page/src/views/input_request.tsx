// What a job asks of a person, and the answer.

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { sent, takesData } from "../answer.ts";
import { api, ApiError, Json } from "../api.ts";
import { duration, moment, pretty, visible } from "../format.ts";
import { Code, Markdown } from "../markdown.tsx";
import type { InputRequest, RequestOption } from "../picture/event.ts";
import { data, type Field, fields } from "../schema.ts";
import { Icon, Problem, Sign, useNow } from "./parts.tsx";

const TITLES: Record<InputRequest["kind"], string> = {
  approval: "Approval needed",
  input: "Input needed",
  review: "Review needed",
  client_tool: "A tool of yours is needed",
  budget: "The budget is used up",
  tool_limit: "The limit of tool calls is reached",
};

const OPTIONS: Record<InputRequest["kind"], RequestOption[]> = {
  approval: [
    { id: "approve", label: "Approve", action: "approve" },
    { id: "reject", label: "Reject", action: "reject" },
  ],
  input: [
    { id: "submit", label: "Submit", action: "submit" },
    { id: "skip", label: "Skip", action: "skip" },
    { id: "reject", label: "Reject", action: "reject" },
  ],
  review: [
    { id: "approve", label: "Approve", action: "approve" },
    { id: "reject", label: "Reject", action: "reject" },
  ],
  client_tool: [
    { id: "submit", label: "Send the result", action: "submit" },
    { id: "reject", label: "Reject", action: "reject" },
  ],
  budget: [
    { id: "approve", label: "Raise it and go on", action: "approve" },
    { id: "reject", label: "Stop", action: "reject" },
  ],
  tool_limit: [
    { id: "approve", label: "Go on", action: "approve" },
    { id: "reject", label: "Stop", action: "reject" },
  ],
};

/** What can be edited of what is asked about: a call's arguments, or a node's input or output. */
function editable(request: InputRequest): string | undefined {
  if (request.tool_call && request.kind === "approval") {
    return pretty(request.tool_call.arguments ?? "{}");
  }
  const given = request.kind === "review" ? request.context?.output : request.context?.input;
  return typeof given === "string" ? given : given === undefined ? undefined : JSON.stringify(given, null, 2);
}

export function RequestView({ job, request, open }: { job: string; request: InputRequest; open: boolean }): JSX.Element {
  const title = TITLES[request.kind] ?? "An answer is needed";
  const heading = `request-${request.id}`;
  return (
    <li class={`request ${open ? "request-open" : ""}`} aria-labelledby={heading}>
      <h2 id={heading}>
        <Sign status={open ? "input_required" : request.answer?.action === "reject" ? "failed" : "completed"} />
        {open ? title : title.replace(/ (is )?needed$/, "")}
      </h2>
      {request.prompt && <Markdown text={request.prompt} />}
      <About request={request} />
      {request.answer ? <Answered request={request} /> : open ? <Form job={job} request={request} /> : <p class="aside">It was not answered.</p>}
    </li>
  );
}

function About({ request }: { request: InputRequest }): JSX.Element | null {
  const { tool_call: call, context } = request;
  if (call) {
    return (
      <div class="about">
        <h3>
          <Icon name="tool" /> {call.name}
        </h3>
        <Code text={pretty(call.arguments ?? "{}")} />
      </div>
    );
  }
  const shown = request.kind === "review" ? context?.output : context?.input;
  if (shown === undefined || shown === "") {
    return null;
  }
  return (
    <div class="about">
      <h3>{request.kind === "review" ? "Output to review" : "What goes in"}</h3>
      {typeof shown === "string" ? <Markdown text={visible(shown)} /> : <Code text={visible(JSON.stringify(shown, null, 2))} />}
    </div>
  );
}

function Answered({ request }: { request: InputRequest }): JSX.Element {
  const { action, option: chosen, by, at, data } = request.answer!;
  const label = request.options?.find((option) => option.id === (chosen ?? action))?.label ?? action;
  return (
    <>
      <p class="aside">
        Answered: <strong>{label}</strong>
        {by && (by === "timeout" ? ", since nobody answered in time" : ` by ${by}`)}
        {at && `, ${moment(at)}`}
      </p>
      {data !== undefined && data !== null && <Code text={typeof data === "string" ? data : JSON.stringify(data, null, 2)} />}
    </>
  );
}

function Form({ job, request }: { job: string; request: InputRequest }): JSX.Element {
  const hasForm = takesData(request);
  const schema = hasForm ? fields(request.input_schema) : undefined;
  const [values, setValues] = useState<Record<string, string | boolean>>({});
  const [json, setJson] = useState("");
  const [edited, setEdited] = useState<string>();
  const [reason, setReason] = useState<string>();
  const [sending, setSending] = useState<string>();
  const [error, setError] = useState<ApiError>();

  const given = editable(request);
  const options = request.options?.length ? request.options : (OPTIONS[request.kind] ?? OPTIONS.approval);
  const canEdit = given !== undefined && !hasForm && (request.kind === "approval" || request.kind === "review");
  const changed = schema ? Object.keys(values).length > 0 : json.trim() !== "";

  const send = (option: RequestOption, payload?: unknown, action = sent(request, option, changed).action) => {
    setSending(option.id);
    setError(undefined);
    api.answer(job, request.id, action, payload).catch((error: unknown) => {
      setSending(undefined);
      setError(error as ApiError);
    });
  };
  const filled = (): unknown => {
    if (schema) {
      const filled = data(schema, values);
      return Object.keys(filled).length > 0 ? filled : undefined;
    }
    const text = json.trim();
    try {
      return new Json(text);
    } catch {
      return text;
    }
  };
  const answer = (option: RequestOption) => {
    if (option.action === "reject" && reason === undefined && request.kind !== "budget" && request.kind !== "tool_limit") {
      setReason("");
    } else if (option.action === "reject") {
      send(option, reason ? { reason } : undefined);
    } else if (option.action === "modify" && canEdit) {
      setEdited(given);
    } else {
      send(option, sent(request, option, changed).withData ? filled() : undefined);
    }
  };
  const save = () => {
    let payload: unknown = edited;
    if (request.tool_call) {
      try {
        payload = new Json(edited ?? "");
      } catch {
        setError(new ApiError(0, "not_json", "The arguments are not JSON. Correct them, or approve them as they were."));
        return;
      }
    }
    send({ id: "modify", label: "Save", action: "modify" }, payload, "modify");
  };
  const busy = sending !== undefined;

  return (
    <form
      class="answer"
      onSubmit={(event) => {
        event.preventDefault();
        if (edited !== undefined) {
          save();
        } else if (reason !== undefined) {
          const reject = options.find((option) => option.action === "reject");
          reject && answer(reject);
        } else {
          const first = options.find((option) => option.action !== "reject" && option.action !== "skip");
          first && answer(first);
        }
      }}
    >
      {schema && <Fields id={request.id} fields={schema} values={values} set={setValues} mayBeEmpty={request.kind === "review" && !changed} />}
      {!schema && hasForm && (
        <label class="field">
          <span>{request.kind === "client_tool" ? "Result" : "Answer"}</span>
          <textarea rows={3} value={json} onInput={(event) => setJson(event.currentTarget.value)} />
        </label>
      )}
      {edited !== undefined && (
        <label class="field">
          <span>{request.tool_call ? "Arguments" : "Text"}</span>
          <textarea
            class={request.tool_call ? "mono" : ""}
            rows={Math.min(14, edited.split("\n").length + 1)}
            value={edited}
            onInput={(event) => setEdited(event.currentTarget.value)}
          />
        </label>
      )}
      {reason !== undefined && (
        <label class="field">
          <span>Reason (it is told to the model)</span>
          <input type="text" value={reason} ref={(input) => input?.focus()} onInput={(event) => setReason(event.currentTarget.value)} />
        </label>
      )}
      {error && <Problem error={error} />}
      {/* A key for each set: a button that became another one during its own click would submit the form. */}
      <div class="buttons" key={edited !== undefined ? "edit" : reason !== undefined ? "reason" : "options"}>
        {edited !== undefined ? (
          <>
            <button type="submit" class="button primary" disabled={busy}>
              {request.tool_call ? "Approve with these arguments" : "Approve with this text"}
            </button>
            <button type="button" class="button ghost" disabled={busy} onClick={() => setEdited(undefined)}>
              Back
            </button>
          </>
        ) : reason !== undefined ? (
          <>
            <button type="submit" class="button danger" disabled={busy}>
              Reject
            </button>
            <button type="button" class="button ghost" disabled={busy} onClick={() => setReason(undefined)}>
              Back
            </button>
          </>
        ) : (
          <>
            {options.map((option, n) => (
              <button
                key={option.id}
                type={n === 0 ? "submit" : "button"}
                class={`button ${n === 0 ? "primary" : option.action === "reject" ? "danger-quiet" : ""}`}
                disabled={busy}
                onClick={n === 0 ? undefined : () => answer(option)}
              >
                {sending === option.id ? "Sending…" : option.label}
              </button>
            ))}
            {canEdit && !options.some((option) => option.action === "modify") && (
              <button type="button" class="button ghost" disabled={busy} onClick={() => setEdited(given)}>
                {request.tool_call ? "Edit the arguments" : "Edit the text"}
              </button>
            )}
          </>
        )}
      </div>
      <Expiry request={request} />
    </form>
  );
}

function Fields(props: {
  id: string;
  fields: Field[];
  values: Record<string, string | boolean>;
  set: (values: Record<string, string | boolean>) => void;
  /** Whether it may be left as it is. */
  mayBeEmpty: boolean;
}): JSX.Element {
  const set = (name: string, value: string | boolean) => props.set({ ...props.values, [name]: value });
  return (
    <>
      {props.fields.map((field) => {
        const value = props.values[field.name] ?? field.start;
        const help = field.help ? `${props.id}-${field.name}-help` : undefined;
        const common = { required: field.required && !props.mayBeEmpty, "aria-describedby": help };
        return (
          <div key={field.name} class={`field ${field.kind === "boolean" ? "field-check" : ""}`}>
            <label>
              <span>
                {field.label}
                {!field.required && field.kind !== "boolean" && <em> optional</em>}
              </span>
              {field.kind === "boolean" ? (
                <input type="checkbox" checked={value === true} onChange={(event) => set(field.name, event.currentTarget.checked)} aria-describedby={help} />
              ) : field.kind === "choice" ? (
                <select {...common} value={value as string} onChange={(event) => set(field.name, event.currentTarget.value)}>
                  <option value="">Choose…</option>
                  {field.choices!.map((choice) => (
                    <option key={choice} value={choice}>
                      {choice}
                    </option>
                  ))}
                </select>
              ) : field.kind === "long" ? (
                <textarea rows={4} {...common} value={value as string} onInput={(event) => set(field.name, event.currentTarget.value)} />
              ) : field.kind === "text" ? (
                <input type="text" {...common} value={value as string} onInput={(event) => set(field.name, event.currentTarget.value)} />
              ) : (
                <input
                  type="number"
                  step={field.kind === "integer" ? 1 : "any"}
                  min={field.min}
                  max={field.max}
                  {...common}
                  value={value as string}
                  onInput={(event) => set(field.name, event.currentTarget.value)}
                />
              )}
            </label>
            {field.help && (
              <p class="help" id={help}>
                {field.help}
              </p>
            )}
          </div>
        );
      })}
    </>
  );
}

function Expiry({ request }: { request: InputRequest }): JSX.Element | null {
  const now = useNow(1000, request.expires_at !== undefined);
  if (!request.expires_at) {
    return null;
  }
  const left = Date.parse(request.expires_at) - now;
  return (
    <p class="small">
      {left > 0
        ? `Unanswered, it is taken as “${request.default_action ?? "reject"}” in ${duration(Math.ceil(left / 1000) * 1000)}.`
        : "Its time is up."}
    </p>
  );
}
