import { STYLE } from "./style.ts";

/**
 * HTML that cannot be injected into: whatever is put into the template is escaped, unless it is {@link Html} itself. Values come
 * from other people's spans.
 */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type HtmlPart = string | number | Html | readonly Html[];

/** Builds HTML; only the literal parts of the template are taken as they are. */
export function html(literals: TemplateStringsArray, ...parts: readonly HtmlPart[]): Html {
  return new Html(
    literals
      .map((literal, index) => literal + (index < parts.length ? rendered(parts[index] ?? "") : ""))
      .join(""),
  );
}

function rendered(part: HtmlPart): string {
  if (part instanceof Html) return part.text;
  if (typeof part === "string" || typeof part === "number") return escaped(String(part));
  return part.map((item) => item.text).join("");
}

const ESCAPES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] ?? "");
}

/** Lengths of time as a person reads them: `640 ns`, `12.3 µs`, `4.56 ms`, `1.23 s`, `2 m 5 s`. */
export function durationText(nano: bigint): string {
  const ns = Number(nano);
  if (ns < 1e3) return `${ns} ns`;
  if (ns < 1e6) return `${threeDigits(ns / 1e3)} µs`;
  if (ns < 1e9) return `${threeDigits(ns / 1e6)} ms`;
  if (ns < 60e9) return `${threeDigits(ns / 1e9)} s`;
  return `${Math.floor(ns / 60e9)} m ${Math.round((ns % 60e9) / 1e9)} s`;
}

function threeDigits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
}

// The Swedish form is ISO's.
const DATE_AND_TIME = new Intl.DateTimeFormat("sv-SE", {
  timeZone: "UTC",
  dateStyle: "short",
  timeStyle: "medium",
});

/** `2026-11-22 14:10:09.123` in UTC. */
export function timeText(unixNano: bigint): string {
  const ms = Number(unixNano / 1_000_000n);
  // Beyond what a calendar can hold.
  if (!Number.isFinite(ms) || Math.abs(ms) > 8.64e15) return "?";
  return `${DATE_AND_TIME.format(ms)}.${String(ms % 1000).padStart(3, "0")}`;
}

/** `1 span`, `2 spans`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Colours have classes c0…c7; a service keeps its colour on every page. */
export function colourClass(service: string): string {
  let hash = 0;
  for (const character of service) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 65_521;
  return `c${hash % 8}`;
}

/** A whole page. The style is a constant, so that the content security policy can allow it by its hash. */
export function page(title: string, body: Html): string {
  const document = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${title}</title>
        ${STYLE_ELEMENT}
      </head>
      <body>
        <header><a class="home" href="/search">Lacewing traces</a></header>
        <main>${body}</main>
      </body>
    </html> `;
  return document.text;
}

// One piece: a formatter of templates must not put a blank between the tags and the style, whose hash would change.
const STYLE_ELEMENT = new Html(`<style>${STYLE}</style>`);
