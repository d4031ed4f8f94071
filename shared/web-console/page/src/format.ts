// Figures and times as people read them.

const LOCALE = undefined; // the reader's

/** `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(ms: number): string {
  if (!Number.isFinite(ms) || ms < 0) {
    return "";
  }
  if (ms < 1000) {
    return `${Math.round(ms)} ms`;
  }
  const seconds = ms / 1000;
  if (seconds < 10) {
    return `${(Math.floor(seconds * 10) / 10).toFixed(1)} s`;
  }
  if (seconds < 60) {
    return `${Math.floor(seconds)} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return `${minutes} min ${Math.floor(seconds % 60)} s`;
  }
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

export function between(from: string | undefined, to: string | undefined): number | undefined {
  if (!from || !to) {
    return undefined;
  }
  const ms = Date.parse(to) - Date.parse(from);
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/** `1,204`. */
export function count(n: number): string {
  return n.toLocaleString(LOCALE);
}

/** US dollars; small sums with as many digits as tell something. */
export function money(usd: number): string {
  if (usd <= 0) {
    return "$0";
  }
  if (usd < 0.000_001) {
    return "under $0.000001";
  }
  return usd < 0.01 ? `$${Number(usd.toPrecision(2))}` : `$${usd.toFixed(usd < 1 ? 3 : 2)}`;
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** How long ago, roughly. */
export function ago(at: string, now: number): string {
  const seconds = Math.max(0, (now - Date.parse(at)) / 1000);
  if (seconds < 45) {
    return "just now";
  }
  if (seconds < 3600) {
    return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  }
  if (seconds < 86_400) {
    return `${Math.round(seconds / 3600)} h ago`;
  }
  const days = Math.round(seconds / 86_400);
  return days < 7 ? `${days} ${days === 1 ? "day" : "days"} ago` : date(at);
}

export function date(at: string): string {
  return new Date(at).toLocaleDateString(LOCALE, { day: "numeric", month: "short", year: "numeric" });
}

/** The whole moment, for titles and the curious. */
export function moment(at: string): string {
  return new Date(at).toLocaleString(LOCALE, { dateStyle: "medium", timeStyle: "medium" });
}

// What cannot be seen, or changes how its neighbours are seen. Joiners stay: letters and emoji are made with them.
const HIDDEN =
  /[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]/g;

/** Text with everything hidden written as JSON's escapes: what somebody decides about has to be seen as it is. */
export function visible(text: string): string {
  const escape = (hidden: string) => hidden.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return text.replace(/\r\n/g, "\n").replace(HIDDEN, escape);
}

/** JSON with indentation, each string and number as it was written; what is no JSON as it is. Hidden characters are escaped. */
export function pretty(text: string): string {
  const trimmed = text.trim();
  if (!trimmed.startsWith("{") && !trimmed.startsWith("[")) {
    return visible(text);
  }
  try {
    JSON.parse(trimmed);
  } catch {
    return visible(text);
  }
  // Parsed and written again, a number beyond what JavaScript has would be another one.
  const tokens = trimmed.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  const written = tokens.map((token, at) => {
    switch (token) {
      case "{":
      case "[":
        depth += 1;
        return /^[}\]]$/.test(tokens[at + 1]!) ? token : token + line();
      case "}":
      case "]":
        depth -= 1;
        return /^[{[]$/.test(tokens[at - 1]!) ? token : line() + token;
      case ",":
        return token + line();
      case ":":
        return ": ";
      default:
        return visible(token);
    }
  });
  return written.join("");
}

/** A call's arguments on one line. */
export function oneLine(text: string, longest = 120): string {
  let line = text.replace(/\s+/g, " ").trim();
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      line = Object.entries(value)
        .map(([key, value]) => `${key}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
        .join(", ");
    }
  } catch {
    // not JSON: as it is
  }
  line = visible(line);
  return line.length > longest ? `${line.slice(0, longest - 1)}…` : line;
}

/** The end of an id, by which people tell jobs apart. */
export function shortId(id: string): string {
  return id.slice(-6).toLowerCase();
}

/** What a description begins with: descriptions are written for models, which read more. */
export function firstSentence(text: string): string {
  return /^[^]*?[.!?](?=\s|$)/.exec(text)?.[0] ?? text;
}

/** With a capital at its beginning: errors are written to be put into sentences. */
export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
