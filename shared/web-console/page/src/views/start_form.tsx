// Starting a job.

import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { api, ApiError } from "../api.ts";
import { reload } from "../jobs.ts";
import type { Tool, WorkflowDocument } from "../picture/event.ts";
import { firstSentence } from "../format.ts";
import { body, type Draft, EMPTY_DRAFT, type LimitName, readDocument } from "../request.ts";
import { go, to } from "../route.ts";
import { config, token } from "../session.ts";
import { asDocument } from "../watching.ts";
import { Graph } from "./graph.tsx";
import { Icon, Problem } from "./parts.tsx";

/** What was filled in so far: leaving the form loses nothing. */
const draft = signal<Draft>(EMPTY_DRAFT);
const tools = signal<Tool[] | null>(null);
const toolsError = signal<ApiError | null>(null);
const catalogue = signal<{ id: string; name?: string }[] | null>(null);
const catalogueError = signal<ApiError | null>(null);
let toolsChosen = false;

const EXAMPLE = "What time is it in Tokyo, and what is 17% of 2,340?";

function set(change: Partial<Draft>): void {
  draft.value = { ...draft.value, ...change };
}

export function StartForm(): JSX.Element {
  const now = draft.value;
  const [sending, setSending] = useState(false);
  const [error, setError] = useState<ApiError>();
  const [document, setDocument] = useState<WorkflowDocument | null>(null);
  // The same request sent again, since its answer was lost, is the same job.
  const key = useRef<{ of: string; key: string } | null>(null);
  const question = useRef<HTMLTextAreaElement>(null);
  useEffect(() => void loadTools(), [token.value]);

  const written = now.kind === "workflow" && now.workflowId === "" && now.document.trim() !== "" ? readDocument(now.document) : undefined;
  const ready =
    now.kind === "chat" ? now.input.trim() !== "" : now.workflowId !== "" || (written !== undefined && "document" in written);
  const shown = written && "document" in written ? written.document : now.workflowId !== "" ? document : null;

  const start = async () => {
    if (!ready || sending) {
      return;
    }
    setSending(true);
    setError(undefined);
    const request = body(now);
    const of = JSON.stringify(request);
    if (key.current?.of !== of) {
      key.current = { of, key: crypto.randomUUID() };
    }
    try {
      const job = await api.start(request, key.current.key);
      key.current = null;
      set({ input: "" });
      void reload();
      go({ page: "job", id: job.id });
    } catch (error) {
      setError(error as ApiError);
      setSending(false);
    }
  };

  return (
    <form
      class="start"
      onSubmit={(event) => {
        event.preventDefault();
        void start();
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
          event.preventDefault();
          void start();
        }
      }}
    >
      <div>
        <a class="back" href={to({ page: "home" })}>
          <Icon name="back" /> Jobs
        </a>
        <h1>New job</h1>
      </div>
      <fieldset class="switch">
        <legend class="hidden">Kind</legend>
        {(["chat", "workflow"] as const).map((kind) => (
          <label key={kind}>
            <input type="radio" name="kind" checked={now.kind === kind} onChange={() => set({ kind })} />
            <span>{kind === "chat" ? "Ask a model" : "Run a workflow"}</span>
          </label>
        ))}
      </fieldset>

      {now.kind === "workflow" && <Workflow onDocument={setDocument} written={written} />}
      {now.kind === "workflow" && shown !== null && <Graph document={shown} />}

      <label class="field">
        <span>{now.kind === "chat" ? "What is to be done" : "Input"}</span>
        <textarea
          ref={question}
          class="ask-input"
          rows={now.kind === "chat" ? 4 : 3}
          value={now.input}
          placeholder={now.kind === "chat" ? EXAMPLE : "What the workflow begins with"}
          onInput={(event) => set({ input: event.currentTarget.value })}
        />
      </label>
      {now.kind === "chat" && now.input === "" && (
        <button type="button" class="button small ghost example" onClick={() => {
            set({ input: EXAMPLE });
            // The button goes; the keyboard is not to be left nowhere.
            question.current?.focus();
          }}>
          Use the example
        </button>
      )}

      <Tools />

      <div class="pair">
        <label class="field">
          <span>
            Model <em>optional</em>
          </span>
          <input
            type="text"
            value={now.model}
            placeholder="The default"
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => set({ model: event.currentTarget.value })}
          />
        </label>
        <label class="field">
          <span>
            Thread <em>optional</em>
          </span>
          <input
            type="text"
            value={now.thread}
            placeholder="A name that groups jobs"
            autocomplete="off"
            spellcheck={false}
            onInput={(event) => set({ thread: event.currentTarget.value })}
          />
        </label>
      </div>

      <details class="options">
        <summary>{now.kind === "chat" ? "Instructions and limits" : "Limits"}</summary>
        {now.kind === "chat" && (
          <label class="field">
            <span>
              Instructions <em>optional</em>
            </span>
            <textarea
              rows={3}
              value={now.instructions}
              placeholder="How the model is to behave"
              onInput={(event) => set({ instructions: event.currentTarget.value })}
            />
          </label>
        )}
        <div class="pair">
          <Limit name="max_turns" label="Most turns" placeholder="10" />
          <Limit name="deadline_seconds" label="Time, in seconds" placeholder="300" />
          <Limit name="max_total_tokens" label="Most tokens" placeholder="No limit" />
          <Limit name="max_cost_usd" label="Most cost, in US dollars" placeholder="No limit" />
        </div>
      </details>

      {error && <Problem error={error} />}
      <div class="buttons start-buttons">
        <button type="submit" class="button primary large" disabled={!ready || sending}>
          {sending ? "Starting…" : "Start"}
        </button>
        <span class="small keys">
          <kbd>Ctrl</kbd> <kbd>Enter</kbd>
        </span>
      </div>
    </form>
  );
}

async function loadTools(): Promise<void> {
  if (config.value.sign_in === "bearer" && token.value === null) {
    return;
  }
  try {
    const { data } = await api.tools();
    tools.value = data;
    toolsError.value = null;
    if (!toolsChosen) {
      toolsChosen = true;
      set({ tools: data.filter((tool) => tool.enabled).map((tool) => tool.name) });
    }
  } catch (error) {
    toolsError.value = error as ApiError;
  }
}

function Tools(): JSX.Element {
  const now = draft.value;
  const flip = (list: string[], name: string) =>
    list.includes(name) ? list.filter((one) => one !== name) : [...list, name];
  return (
    <fieldset class="tools">
      <legend>Tools</legend>
      {toolsError.value && <p class="aside">The tools cannot be listed. {toolsError.value.message}</p>}
      {tools.value === null && !toolsError.value && <div class="skeleton tools-skeleton" role="status" aria-label="Loading tools"><div /><div /></div>}
      {tools.value?.length === 0 && <p class="aside">No tool is registered.</p>}
      {tools.value?.map((tool) => {
        const chosen = now.tools.includes(tool.name);
        return (
          <div key={tool.name} class="tool">
            <label class="tool-use">
              <input type="checkbox" checked={chosen} disabled={!tool.enabled} onChange={() => set({ tools: flip(now.tools, tool.name) })} />
              <span>
                <strong>{tool.name}</strong>
                <span class="tool-about" title={tool.description}>
                  {tool.enabled ? firstSentence(tool.description) : "Switched off."}
                </span>
              </span>
            </label>
            <label class={`tool-ask ${chosen ? "" : "tool-ask-off"}`}>
              <input
                type="checkbox"
                disabled={!chosen}
                checked={chosen && now.approve.includes(tool.name)}
                onChange={() => set({ approve: flip(now.approve, tool.name) })}
              />
              <span>
                Ask me first<span class="hidden"> before {tool.name} is called</span>
              </span>
            </label>
          </div>
        );
      })}
    </fieldset>
  );
}

function Limit({ name, label, placeholder }: { name: LimitName; label: string; placeholder: string }): JSX.Element {
  const { limits } = draft.value;
  return (
    <label class="field">
      <span>{label}</span>
      <input
        type="number"
        min="0"
        step="any"
        inputMode="decimal"
        placeholder={placeholder}
        value={limits[name]}
        onInput={(event) => set({ limits: { ...limits, [name]: event.currentTarget.value } })}
      />
    </label>
  );
}

function Workflow(props: {
  onDocument: (document: WorkflowDocument | null) => void;
  written: ReturnType<typeof readDocument> | undefined;
}): JSX.Element {
  const now = draft.value;
  useEffect(() => {
    api.workflows().then(
      ({ data }) => ((catalogue.value = data), (catalogueError.value = null)),
      (error) => (catalogueError.value = error as ApiError),
    );
  }, [token.value]);
  useEffect(() => {
    props.onDocument(null);
    if (now.workflowId !== "") {
      api.workflow(now.workflowId).then((answer) => props.onDocument(asDocument(answer)), () => props.onDocument(null));
    }
  }, [now.workflowId]);
  const load = async (file: File | undefined) => file && set({ document: await file.text(), workflowId: "" });
  return (
    <div class="workflow-choice">
      {catalogue.value !== null && catalogue.value.length > 0 && (
        <label class="field">
          <span>From the catalogue</span>
          <select value={now.workflowId} onChange={(event) => set({ workflowId: event.currentTarget.value })}>
            <option value="">A document of my own</option>
            {catalogue.value.map((workflow) => (
              <option key={workflow.id} value={workflow.id}>
                {workflow.name ?? workflow.id}
              </option>
            ))}
          </select>
        </label>
      )}
      {catalogueError.value && (
        <p class="aside">
          {[404, 501].includes(catalogueError.value.status)
            ? "The release that answers here has no catalogue of workflows: paste a document."
            : `The catalogue of workflows cannot be listed. ${catalogueError.value.message}`}
        </p>
      )}
      {now.workflowId === "" && (
        <div class="field">
          <label>
            <span>Workflow document</span>
            <textarea
              class="mono"
              rows={6}
              spellcheck={false}
              value={now.document}
              placeholder='{"meta": …, "nodes": […], "edges": […]}'
              onInput={(event) => set({ document: event.currentTarget.value })}
            />
          </label>
          <label class="button small file">
            Load from a file
            <input type="file" class="hidden" accept=".json,application/json" onChange={(event) => void load(event.currentTarget.files?.[0])} />
          </label>
          {props.written && "problem" in props.written && <p class="problem">{props.written.problem}</p>}
        </div>
      )}
    </div>
  );
}
