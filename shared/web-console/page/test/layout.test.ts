import assert from "node:assert/strict";
import { test } from "node:test";
import type { WorkflowDocument } from "../src/picture/event.ts";
import { layout, NODE } from "../src/picture/layout.ts";

function document(edges: [string, string][]): WorkflowDocument {
  const ids = [...new Set(edges.flat())];
  return { nodes: ids.map((id, n) => ({ id, type: "agent", position: { x: n * 10, y: 0 } })), edges: edges.map(([source, target]) => ({ source, target })) };
}

test("every node stands after all of its parents, and no two in one place", () => {
  const drawn = document([["s", "a"], ["s", "b"], ["a", "c"], ["c", "d"], ["b", "d"], ["s", "d"]]);
  for (const direction of ["right", "down"] as const) {
    const { nodes, edges, width, height } = layout(drawn, direction);
    const at = new Map(nodes.map((node) => [node.id, node]));
    const along = direction === "right" ? ("x" as const) : ("y" as const);
    const size = direction === "right" ? NODE.width : NODE.height;
    for (const { edge } of edges) {
      assert.ok(at.get(edge.target)![along] >= at.get(edge.source)![along] + size, `${edge.source} to ${edge.target}, ${direction}`);
    }
    for (const one of nodes) {
      for (const other of nodes.filter((other) => other !== one)) {
        const apart = Math.abs(one.x - other.x) >= NODE.width || Math.abs(one.y - other.y) >= NODE.height;
        assert.ok(apart, `${one.id} and ${other.id}`);
      }
      assert.ok(one.x >= 0 && one.x + NODE.width <= width && one.y >= 0 && one.y + NODE.height <= height);
    }
  }
});

test("crossings that can be avoided are", () => {
  const { nodes } = layout(document([["s", "a"], ["s", "b"], ["b", "x"], ["a", "y"]]), "right");
  const y = (id: string) => nodes.find((node) => node.id === id)!.y;
  assert.equal(Math.sign(y("a") - y("b")), Math.sign(y("y") - y("x")));
});

test("the same document gives the same drawing, and one with a cycle or loose ends gives one, too", () => {
  const drawn = document([["s", "a"], ["a", "b"], ["b", "a"]]);
  drawn.edges.push({ source: "s", target: "nowhere" });
  assert.deepEqual(layout(drawn, "down"), layout(drawn, "down"));
  assert.equal(layout(drawn, "down").nodes.length, 3);
  assert.equal(layout({ nodes: [], edges: [] }, "right").nodes.length, 0);
});
