// Markdown as elements. What a model or a tool wrote never becomes HTML: marked only reads it, and each of its tokens is
// made into an element here. HTML in the text is shown as text, and there is nothing to sanitise. The page's policy
// (`trusted-types 'none'`) would not let it be otherwise.

import { Lexer, type Token, type Tokens } from "marked";
import type { ComponentChild, ComponentChildren, JSX } from "preact";
import { Component, Fragment } from "preact";

/** Text in markdown. While it grows, only its last block is read into elements again. */
export function Markdown({ text }: { text: string }): JSX.Element {
  const blocks = new Lexer({ gfm: true }).lex(text);
  const links = Object.keys(blocks.links).length;
  const levels = headings(blocks);
  return (
    <div class="prose">
      {blocks.map((token, n) => (
        <Block key={n} token={token} links={links} level={levels[n]} />
      ))}
    </div>
  );
}

/** The page has its own first and second headings. */
const FIRST_LEVEL = 3;

/** The levels of a text's headings in the page: none is passed over, whatever the text begins with or leaves out. */
function headings(tokens: Token[]): (number | undefined)[] {
  const above: number[] = [];
  return tokens.map((token) => {
    if (token.type !== "heading") {
      return undefined;
    }
    const { depth } = token as Tokens.Heading;
    while (above.length > 0 && above.at(-1)! >= depth) {
      above.pop();
    }
    above.push(depth);
    return Math.min(6, FIRST_LEVEL + above.length - 1);
  });
}

interface BlockProps {
  token: Token;
  /** How many addresses are defined at the text's end, which blocks before it may refer to. */
  links: number;
  /** Of a heading, its level in the page. */
  level: number | undefined;
}

class Block extends Component<BlockProps> {
  override shouldComponentUpdate(next: BlockProps): boolean {
    const { token, links } = this.props;
    return next.token.raw !== token.raw || next.token.type !== token.type || next.links !== links;
  }

  override render({ token, level }: BlockProps): ComponentChild {
    return block(token, level);
  }
}

function blocks(tokens: Token[] | undefined): ComponentChildren {
  return tokens?.map((token, n) => <Fragment key={n}>{block(token)}</Fragment>);
}

function block(token: Token, level?: number): ComponentChild {
  switch (token.type) {
    case "space":
    case "def":
    case "checkbox":
      return null;
    case "hr":
      return <hr />;
    case "heading": {
      if (level === undefined) {
        // In a quotation or a list: a line of its own, and no part of the page's outline.
        return <p class="heading">{inline(token.tokens)}</p>;
      }
      const Tag = `h${level}` as "h3";
      return <Tag>{inline(token.tokens)}</Tag>;
    }
    case "code":
      return <Code text={(token as Tokens.Code).text} language={(token as Tokens.Code).lang} />;
    case "blockquote":
      return <blockquote>{blocks(token.tokens)}</blockquote>;
    case "list":
      return list(token as Tokens.List);
    case "table":
      return table(token as Tokens.Table);
    case "paragraph":
      return <p>{inline(token.tokens)}</p>;
    case "html":
      return <p class="as-is">{token.raw.trim()}</p>;
    case "text":
      return token.tokens ? <>{inline(token.tokens)}</> : <>{entities((token as Tokens.Text).text)}</>;
    default:
      return <p class="as-is">{token.raw}</p>;
  }
}

export function Code({ text, language }: { text: string; language?: string }): JSX.Element {
  return (
    <pre class="code" tabIndex={0} data-language={language || undefined}>
      <code>{text}</code>
    </pre>
  );
}

function list(token: Tokens.List): JSX.Element {
  const items = token.items.map((item, n) => (
    <li key={n} class={item.task ? "task" : undefined}>
      {item.task && <input type="checkbox" checked={item.checked === true} disabled aria-label={item.checked ? "done" : "open"} />}
      {blocks(item.tokens)}
    </li>
  ));
  return token.ordered ? <ol start={token.start === "" ? 1 : token.start}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table): JSX.Element {
  const cell = (Tag: "th" | "td") => (cell: Tokens.TableCell, n: number) => (
    <Tag key={n} class={cell.align ? `align-${cell.align}` : undefined}>
      {inline(cell.tokens)}
    </Tag>
  );
  return (
    <div class="table" tabIndex={0}>
      <table>
        <thead>
          <tr>{token.header.map(cell("th"))}</tr>
        </thead>
        <tbody>
          {token.rows.map((row, n) => (
            <tr key={n}>{row.map(cell("td"))}</tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inline(tokens: Token[] | undefined): ComponentChildren {
  return tokens?.map((token): ComponentChild => {
    switch (token.type) {
      case "strong":
        return <strong>{inline(token.tokens)}</strong>;
      case "em":
        return <em>{inline(token.tokens)}</em>;
      case "del":
        return <del>{inline(token.tokens)}</del>;
      case "codespan":
        return <code>{(token as Tokens.Codespan).text}</code>;
      case "br":
        return <br />;
      case "link":
        return link((token as Tokens.Link).href, inline(token.tokens));
      case "image": {
        // A picture would be a request to a third party: its address is a link instead.
        const { href, text } = token as Tokens.Image;
        return link(href, text || href);
      }
      case "escape":
        return (token as Tokens.Escape).text;
      case "text":
        return token.tokens ? <>{inline(token.tokens)}</> : entities((token as Tokens.Text).text);
      case "checkbox":
        return null;
      default:
        return token.raw;
    }
  });
}

const SCHEMES = ["http:", "https:", "mailto:"];

/** A link to the web or to a mailbox; of any other scheme only its text is shown. */
function link(href: string, text: ComponentChildren): ComponentChild {
  const address = safeAddress(href);
  return address === undefined ? (
    <>{text}</>
  ) : (
    <a href={address} target="_blank" rel="noopener noreferrer">
      {text}
    </a>
  );
}

export function safeAddress(href: string): string | undefined {
  try {
    const url = new URL(entities(href));
    return SCHEMES.includes(url.protocol) ? url.href : undefined;
  } catch {
    return undefined; // relative: it would lead into this page
  }
}

const NAMED: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", copy: "©", mdash: "—", ndash: "–", hellip: "…" };

/** The characters that entities stand for. */
export function entities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]{2,6}));/gi, (whole, decimal, hex, name: string | undefined) => {
    if (name !== undefined) {
      return NAMED[name] ?? whole;
    }
    const point = decimal ? Number(decimal) : Number.parseInt(hex as string, 16);
    return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });
}
