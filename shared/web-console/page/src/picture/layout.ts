// Where a workflow's nodes are drawn: in layers by the longest path from the start, within a layer so that few edges
// cross. Pure, and the same document gives the same drawing.

import type { WorkflowDocument, WorkflowEdge } from "./event.ts";

export const NODE = { width: 132, height: 50 };
const GAP = { along: 40, across: 16 };
const MARGIN = 12;

export interface Placed {
  id: string;
  x: number;
  y: number;
}

export interface Drawn {
  edge: WorkflowEdge;
  path: string;
  /** Where its label stands. */
  label: { x: number; y: number };
}

export interface Layout {
  width: number;
  height: number;
  nodes: Placed[];
  edges: Drawn[];
}

/** A place in a layer: a node, or where a long edge passes by. */
interface Slot {
  key: string;
  layer: number;
  at: number;
  node: boolean;
}

export type Direction = "right" | "down";

export function layout(document: WorkflowDocument, direction: Direction): Layout {
  const known = new Set(document.nodes.map((node) => node.id));
  const edges = document.edges.filter(({ source, target }) => known.has(source) && known.has(target));
  const layers = layersOf(document, edges);
  const slots = new Map<string, Slot>();
  const rows: Slot[][] = [];
  const add = (key: string, layer: number, node: boolean): Slot => {
    const row = (rows[layer] ??= []);
    const slot = { key, layer, at: row.length, node };
    row.push(slot);
    slots.set(key, slot);
    return slot;
  };
  // The editor's own order first: it is what its author knows.
  const across = (id: string): number => {
    const position = document.nodes.find((node) => node.id === id)?.position;
    return position?.x ?? 0;
  };
  const ids = document.nodes.map((node) => node.id).sort((a, b) => across(a) - across(b));
  for (const id of ids) {
    add(id, layers.get(id) ?? 0, true);
  }
  const chains = edges.map((edge, n) => {
    const [from, to] = [layers.get(edge.source) ?? 0, layers.get(edge.target) ?? 0];
    const chain = [edge.source];
    for (let layer = from + 1; layer < to; layer += 1) {
      chain.push(add(`${n}:${layer}`, layer, false).key);
    }
    return [...chain, edge.target];
  });
  for (let layer = 0; layer < rows.length; layer += 1) {
    rows[layer] ??= [];
  }
  order(rows, slots, chains);
  return draw(rows, slots, edges, chains, direction);
}

/** The longest path from a node without parents. A cycle, which no valid document has, ends the search. */
function layersOf(document: WorkflowDocument, edges: WorkflowEdge[]): Map<string, number> {
  const layers = new Map(document.nodes.map((node) => [node.id, 0]));
  for (let round = 0; round < document.nodes.length; round += 1) {
    let moved = false;
    for (const { source, target } of edges) {
      const least = (layers.get(source) ?? 0) + 1;
      if (source !== target && (layers.get(target) ?? 0) < least) {
        layers.set(target, least);
        moved = true;
      }
    }
    if (!moved) {
      break;
    }
  }
  return layers;
}

/** Puts each slot near the middle of its neighbours, layer by layer, forth and back. */
function order(rows: Slot[][], slots: Map<string, Slot>, chains: string[][]): void {
  const before = new Map<string, Slot[]>();
  const after = new Map<string, Slot[]>();
  const link = (links: Map<string, Slot[]>, from: string, to: string) => {
    const slot = slots.get(to);
    if (slot) {
      links.set(from, [...(links.get(from) ?? []), slot]);
    }
  };
  for (const chain of chains) {
    for (let n = 1; n < chain.length; n += 1) {
      link(before, chain[n]!, chain[n - 1]!);
      link(after, chain[n - 1]!, chain[n]!);
    }
  }
  const sweep = (row: Slot[], links: Map<string, Slot[]>) => {
    const middle = new Map(
      row.map((slot) => {
        const near = links.get(slot.key) ?? [];
        return [slot, near.length ? near.reduce((sum, one) => sum + one.at, 0) / near.length : slot.at];
      }),
    );
    row.sort((a, b) => middle.get(a)! - middle.get(b)! || a.at - b.at);
    row.forEach((slot, n) => (slot.at = n));
  };
  for (let round = 0; round < 4; round += 1) {
    rows.forEach((row) => sweep(row, before));
    [...rows].reverse().forEach((row) => sweep(row, after));
  }
}

function draw(
  rows: Slot[][],
  slots: Map<string, Slot>,
  edges: WorkflowEdge[],
  chains: string[][],
  direction: Direction,
): Layout {
  const right = direction === "right";
  const [along, across] = right ? [NODE.width, NODE.height] : [NODE.height, NODE.width];
  const step = across + GAP.across;
  const longest = Math.max(1, ...rows.map((row) => row.length));
  const place = (slot: Slot): { a: number; c: number } => {
    const row = rows[slot.layer]!;
    const free = (longest - row.length) * step;
    return { a: MARGIN + slot.layer * (along + GAP.along), c: MARGIN + free / 2 + slot.at * step };
  };
  const xy = (a: number, c: number): [number, number] => (right ? [a, c] : [c, a]);
  const nodes = rows.flat().filter((slot) => slot.node).map((slot) => {
    const { a, c } = place(slot);
    const [x, y] = xy(a, c);
    return { id: slot.key, x, y };
  });
  const drawn = edges.map((edge, n) => {
    const points = chains[n]!.map((key) => place(slots.get(key)!));
    let path = "";
    let label = { x: 0, y: 0 };
    for (let k = 1; k < points.length; k += 1) {
      const [from, to] = [points[k - 1]!, points[k]!];
      const a0 = from.a + along;
      const c0 = from.c + across / 2;
      const a1 = to.a;
      const c1 = to.c + across / 2;
      const half = (a1 - a0) / 2;
      const at = (a: number, c: number) => xy(a, c).map((v) => Math.round(v * 10) / 10).join(" ");
      path += `${k === 1 ? `M${at(a0, c0)}` : `L${at(a0, c0)}`}C${at(a0 + half, c0)} ${at(a1 - half, c1)} ${at(a1, c1)}`;
      if (k === 1) {
        const [x, y] = xy((a0 + a1) / 2, (c0 + c1) / 2);
        label = { x, y };
      }
    }
    return { edge, path, label };
  });
  const [width, height] = xy(
    2 * MARGIN + rows.length * along + (rows.length - 1) * GAP.along,
    2 * MARGIN + longest * step - GAP.across,
  );
  return { width, height, nodes, edges: drawn };
}
