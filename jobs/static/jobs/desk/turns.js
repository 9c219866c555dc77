// A transcript as passages: who says what, when. Nothing here knows the page.

const PAUSE_SECONDS = 2;
// A long passage ends at the end of a sentence, and in the end without one.
const LONG_WORDS = 60;
const LONGEST_WORDS = 150;
const SENTENCE_END = /[.?!…。！？]["'”’»)\]]*$/;
const UNSPACED = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Myanmar}\\p{Script=Khmer}\\u3001-\\u303f\\uff01-\\uff65ー";
const ENDS_UNSPACED = new RegExp(`[${UNSPACED}]$`, "u");
const BEGINS_UNSPACED = new RegExp(`^[${UNSPACED}]`, "u");

export const voiceKey = (channel, speaker) => `${channel ?? ""}:${speaker ?? ""}`;

export const voiceLabel = (channel, speaker) =>
  [channel === null ? "" : `Channel ${channel + 1}`, speaker === null ? "" : `Speaker ${speaker + 1}`]
    .filter(Boolean)
    .join(", ");

// Whether a space stands between two words.
export const spaced = (before, after) => !(ENDS_UNSPACED.test(before) && BEGINS_UNSPACED.test(after));

export const squeezed = (text) => text.replace(/\s+/gu, " ").trim();

// Words as the server gives them, `[text, start, end, confidence, speaker, channel]`, as passages in order of time:
// `{channel, speaker, start, words: [places], text}`. A word without a speaker is the one's before it.
export const turnsOf = (words) => {
  const turns = [];
  const last = new Map();
  words.forEach(([text, start, end, , said, channel], at) => {
    let turn = last.get(channel);
    const speaker = said ?? turn?.speaker ?? null;
    const isLong = turn && (turn.words.length >= LONGEST_WORDS
      || (turn.words.length >= LONG_WORDS && SENTENCE_END.test(turn.lastText)));
    if (!turn || turn.speaker !== speaker || start - turn.end >= PAUSE_SECONDS || isLong) {
      turn = { channel, speaker, start, words: [], text: "", lastText: "", end };
      last.set(channel, turn);
      turns.push(turn);
    }
    turn.text += turn.words.length && spaced(turn.lastText, text) ? ` ${text}` : text;
    turn.words.push(at);
    turn.lastText = text;
    turn.end = end;
  });
  for (const turn of turns) {
    turn.text = squeezed(turn.text);
  }
  return turns;
};

// The passage that a change was made to: the same text at the same time, or else the nearest with that text.
export const turnFor = (turns, { before, start, channel }) => {
  const same = turns.filter((turn) => turn.text === before && turn.channel === channel);
  same.sort((one, other) => Math.abs(one.start - start) - Math.abs(other.start - start));
  return same[0];
};

// Where `what` stands in a text: `[[from, to], …]`.
export const found = (text, what, { matchCase, wholeWords }) => {
  if (!what) {
    return [];
  }
  const escaped = what.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const bounded = wholeWords ? `(?<![\\p{L}\\p{N}])${escaped}(?![\\p{L}\\p{N}])` : escaped;
  const pattern = new RegExp(bounded, matchCase ? "gu" : "giu");
  return [...text.matchAll(pattern)].map((match) => [match.index, match.index + match[0].length]);
};
