// A workflow as a graph whose nodes change as they run. The lines are a drawing; the nodes are buttons in the order in
// which they run, so that the keyboard and a screen reader get the whole of it.

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { between, duration } from "../format.ts";
import { Markdown } from "../markdown.tsx";
import type { NodeStatus, WorkflowDocument } from "../picture/event.ts";
import { type Direction, layout, NODE } from "../picture/layout.ts";
import { type NodeRun, owner } from "../picture/picture.ts";
import { Icon, Sign, StatusMark, statusWord, tone } from "./parts.tsx";

export interface GraphProps {
  document: WorkflowDocument;
  latest?: Record<string, NodeRun>;
  runs?: NodeRun[];
  /** Offered on nodes that have run, when the job is over. */
  onRetry?: (node: string) => void;
}

interface Fit {
  direction: Direction;
  zoom: number;
}

/** Smaller than this, labels are hard to read: there it is scrolled. */
const SMALLEST = 0.8;

/** From left to right where that fits, at least a little smaller; else downwards. */
function fit(document: WorkflowDocument, room: number): Fit {
  for (const direction of ["right", "down"] as const) {
    const zoom = Math.min(1, room / layout(document, direction).width);
    if (zoom >= SMALLEST) {
      return { direction, zoom };
    }
  }
  return { direction: room < 560 ? "down" : "right", zoom: SMALLEST };
}

const KINDS: Record<string, string> = { whileLoop: "loop", subflow: "workflow", condition: "router" };

export function Graph({ document, latest = {}, runs = [], onRetry }: GraphProps): JSX.Element {
  const [{ direction, zoom }, setFit] = useState<Fit>({ direction: "right", zoom: 1 });
  const [selected, select] = useState<string>();
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setFit(fit(document, entry?.contentRect.width ?? 0)));
    box.current && observer.observe(box.current);
    return () => observer.disconnect();
  }, [document]);
  // Where something happens is in view; nothing but the graph itself is moved for it.
  const busy = document.nodes.find(({ id }) => latest[id]?.status === "active" || latest[id]?.status === "waiting")?.id;
  useEffect(() => {
    const [frame, node] = [box.current, box.current?.querySelector<HTMLElement>(".node-work, .node-ask")];
    if (frame && node) {
      frame.scrollTo({ left: node.offsetLeft * zoom - frame.clientWidth / 2, top: node.offsetTop * zoom - frame.clientHeight / 2 });
    }
  }, [busy, direction, zoom]);
  const { width, height, nodes, edges } = layout(document, direction);
  const ids = new Set(document.nodes.map((node) => node.id));
  const of = (id: string) => document.nodes.find((node) => node.id === id)!;
  const label = (id: string) => of(id).data?.label || id;
  const statusOf = (id: string): NodeStatus => latest[id]?.status ?? "pending";
  const inOrder = [...nodes].sort((a, b) => (direction === "right" ? a.x - b.x || a.y - b.y : a.y - b.y || a.x - b.x));
  const taken = (source: string, target: string) =>
    statusOf(source) === "completed" && statusOf(target) !== "pending" && statusOf(target) !== "skipped";
  return (
    <section class="graph" aria-label="Workflow">
      <div class="graph-box" ref={box} tabIndex={0} role="group" aria-label="Nodes">
        <div class="graph-plane" style={{ width: `${width}px`, height: `${height}px`, zoom: String(zoom) }}>
          <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} aria-hidden="true">
            {edges.map(({ edge, path, label: at }, n) => (
              <g key={edge.id ?? n} class={taken(edge.source, edge.target) ? "edge edge-taken" : "edge"}>
                <path d={path} />
                {edge.label && (
                  <text x={at.x} y={at.y - 4} text-anchor="middle">
                    {edge.label}
                  </text>
                )}
              </g>
            ))}
          </svg>
          {inOrder.map(({ id, x, y }) => {
            const run = latest[id];
            const kind = of(id).type;
            return (
              <button
                key={id}
                type="button"
                class={`node node-${tone(statusOf(id))} ${run ? "" : "node-pending"}`}
                style={{ left: `${x}px`, top: `${y}px`, width: `${NODE.width}px`, height: `${NODE.height}px` }}
                aria-expanded={selected === id}
                onClick={() => select(selected === id ? undefined : id)}
              >
                <Sign status={statusOf(id)} />
                <span class="node-label">{label(id)}</span>
                <span class="node-kind">
                  {KINDS[kind] ?? kind}
                  {run?.iteration !== undefined && ` · round ${run.iteration}`}
                  <span class="hidden"> {statusWord(statusOf(id))}</span>
                </span>
              </button>
            );
          })}
        </div>
      </div>
      {selected !== undefined && document.nodes.some((node) => node.id === selected) && (
        <NodeDetails
          key={selected}
          title={label(selected)}
          description={of(selected).data?.description}
          status={statusOf(selected)}
          runs={runs.filter((run) => owner(run.id, ids) === selected)}
          onRetry={onRetry && latest[selected] ? () => onRetry(selected) : undefined}
          onClose={() => select(undefined)}
        />
      )}
    </section>
  );
}

function NodeDetails(props: {
  title: string;
  description?: string;
  status: NodeStatus;
  runs: NodeRun[];
  onRetry?: () => void;
  onClose: () => void;
}): JSX.Element {
  return (
    <div class="node-details">
      <div class="node-head">
        <h2>{props.title}</h2>
        <StatusMark status={props.status} quiet />
        <div class="buttons">
          {props.onRetry && (
            <button type="button" class="button small" onClick={props.onRetry}>
              <Icon name="retry" /> Retry from here
            </button>
          )}
          <button type="button" class="button small ghost" onClick={props.onClose}>
            Close
          </button>
        </div>
      </div>
      {props.description && <p class="small">{props.description}</p>}
      {props.runs.length === 0 && <p class="aside">It has not run yet.</p>}
      {props.runs.map((run) => {
        const ms = between(run.startedAt, run.finishedAt);
        return (
          <div key={run.key}>
            {(run.iteration !== undefined || ms !== undefined || /[:/]/.test(run.id)) && (
              <p class="small">
                {/[:/]/.test(run.id) && `${run.id}. `}
                {run.iteration !== undefined && `Round ${run.iteration}. `}
                {ms !== undefined && `Took ${duration(ms)}. `}
                {run.route && `Took the way “${run.route}”.`}
              </p>
            )}
            {run.note && <p class="small">{run.note}</p>}
            {run.error && <p class="problem">{run.error.message}</p>}
            {run.output && <Markdown text={run.output} />}
          </div>
        );
      })}
    </div>
  );
}
