import assert from "node:assert/strict";
import { test } from "node:test";
import { render } from "preact-render-to-string";
import { entities, Markdown, safeAddress } from "../src/markdown.tsx";

const html = (text: string) => render(<Markdown text={text} />);

test("HTML in markdown is text", () => {
  for (const hostile of ["<script>alert(1)</script>", "a <img src=x onerror=alert(1)> b", "<iframe src='//x'></iframe>", "<svg/onload=alert(1)>", "**<b onclick=x>**"]) {
    const shown = html(hostile);
    assert.ok(!/<(script|img|iframe|svg|b )/i.test(shown), shown);
    assert.ok(shown.includes("&lt;"), shown);
  }
});

test("links lead to the web and to mailboxes only", () => {
  for (const bad of ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "&#106;avascript:alert(1)", "data:text/html,x", "vbscript:x", "/jobs", "file:///etc/passwd", " javascript:x"]) {
    assert.equal(safeAddress(bad), undefined, bad);
  }
  assert.equal(safeAddress("https://a.example/?a=1&amp;b=2"), "https://a.example/?a=1&b=2");
  assert.ok(html("[x](javascript:alert(1))").includes("<p>x</p>"));
  assert.ok(html("[x](https://a.example)").includes('rel="noopener noreferrer"'));
});

test("a picture is a link, since it would be a request to somebody else", () => {
  const shown = html("![cat](https://a.example/cat.png)");
  assert.ok(!shown.includes("<img") && shown.includes('href="https://a.example/cat.png"'), shown);
});

test("what markdown means is shown", () => {
  assert.equal(html("a **b** *c* `d`"), '<div class="prose"><p>a <strong>b</strong> <em>c</em> <code>d</code></p></div>');
  assert.ok(html("1. a\n2. b").includes("<ol start=\"1\"><li>a</li><li>b</li></ol>"));
  assert.ok(html("|a|b|\n|-|-:|\n|1|2|").includes('<td class="align-right">2</td>'));
  assert.ok(html("```js\nx<y\n```").includes("<code>x&lt;y</code>"));
  assert.ok(html("a &amp; b &lt;").includes("a &amp; b &lt;"));
  assert.equal(entities("&#x1F600;&copy;&unknown;&#0;"), "😀©&unknown;&#0;");
});
