// The transcript desk: listen, follow, correct, save as a version. What is not saved is kept in this browser.

import { csrfToken, signInAgain } from "../signed_in.js";
import { Player, clock } from "./player.js";
import { found, spaced, squeezed, textOf as saidIn, turnFor, turnsOf, voiceKey, voiceLabel } from "./turns.js";

const DRAFT_DELAY_MS = 300;
// After a word, until the next: it is still the one that is heard.
const LINGER_SECONDS = 0.4;

const find = (id) => document.getElementById(id);
const desk = find("desk");
const list = find("desk-turns");
const saveButton = find("desk-save");
const threshold = find("desk-threshold");
const status = find("desk-status");
const problem = find("desk-problem");
const mayCorrect = "mayCorrect" in desk.dataset;
const draftKey = `desk:${desk.dataset.job}`;

let said = { version: 0, words: [], speakers: [], text: "" };
let turns = [];
// By the places of the words.
let spans = [];
let starts = new Float64Array();
let low = [];
let names = new Map();
const dirty = new Set();
// By their places, what is said of words and not saved: which are right as they are, and whether a passage begins there.
const confirmed = new Set();
const seams = new Map();
// Where passages began, and who said each word, before anything was changed.
let begun = new Set();
let saidBy = [];
let ownerOf = new WeakMap();
let shown = null;
let stoodAt = -1;
let saving = false;

const player = find("desk-audio") && new Player(
  (seconds) => showPlace(seconds),
  (why) => tell(why),
);

const editable = (() => {
  const box = document.createElement("div");
  try {
    box.contentEditable = "plaintext-only";
  } catch {
    box.contentEditable = "true";
  }
  return box.contentEditable;
})();

// Telling

const say = (text) => { status.textContent = text; };

const tell = (text, ...more) => {
  problem.replaceChildren(text, ...more);
  problem.hidden = !text;
};

const button = (label, action) => {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "job-button";
  made.textContent = label;
  made.addEventListener("click", action);
  return made;
};

// Voices

const speakers = () => [...names].map(([key, name]) => {
  const [channel, speaker] = key.split(":").map((part) => (part === "" ? null : Number(part)));
  return { channel, speaker, name };
});

const namesOf = (told) => new Map(told.map(({ channel, speaker, name }) => [voiceKey(channel, speaker), name]));

const namesChanged = () => {
  const saved = namesOf(said.speakers);
  return saved.size !== names.size || [...names].some(([key, name]) => saved.get(key) !== name);
};

const nameOf = (channel, speaker) => names.get(voiceKey(channel, speaker)) || voiceLabel(channel, speaker);

const showVoice = (turn) => {
  const name = nameOf(turn.channel, turn.by);
  const voice = turn.node.querySelector(".desk-voice");
  if (voice) {
    voice.textContent = name || "Who?";
    voice.setAttribute("aria-label", `${name || "Unknown speaker"}: name this voice, or change who says this`);
  }
  turn.box.setAttribute("aria-label", `${name || "Said"} at ${clock(turn.start)}`);
};

// Passages

const escaped = (text) => text.replace(/[&<>"]/g, (mark) => `&#${mark.charCodeAt(0)};`);

const contentOf = (turn) => {
  let html = "";
  let before = "";
  for (const at of turn.words) {
    const text = said.words[at][0];
    html += `${html && spaced(before, text) ? " " : ""}<span data-w="${at}">${escaped(text)}</span>`;
    before = text;
  }
  return html || escaped(turn.text);
};

const EDITS = mayCorrect ? ` contenteditable="${editable}" role="textbox" aria-multiline="true"` : "";

const htmlOf = (turn, content) => `<li class="desk-turn"><div class="desk-head">${
  mayCorrect ? '<button type="button" class="desk-voice"></button>' : `<span class="desk-voice">${escaped(nameOf(turn.channel, turn.speaker))}</span>`
}<button type="button" class="desk-time" aria-label="Play from ${clock(turn.start)}">${clock(turn.start)}</button></div>`
  + `<div class="desk-text" dir="auto"${EDITS}>${content}</div></li>`;

const adopt = (turn, node) => {
  turn.node = node;
  turn.box = node.lastElementChild;
  turn.by ??= turn.speaker;
  ownerOf.set(node, turn);
  if (mayCorrect) {
    showVoice(turn);
  }
};

const render = () => {
  list.innerHTML = turns.map((turn) => htmlOf(turn, contentOf(turn))).join("");
  ownerOf = new WeakMap();
  turns.forEach((turn, index) => adopt(turn, list.children[index]));
  bind(list);
  list.removeAttribute("aria-busy");
  mark();
};

const bind = (within) => {
  for (const span of within.querySelectorAll("[data-w]")) {
    spans[span.dataset.w] = span;
  }
};

const textOf = (turn) => squeezed(turn.box.textContent);

const isChanged = (turn) => textOf(turn) !== turn.text || turn.by !== turn.speaker;

const elementAt = (node) => (node?.nodeType === Node.TEXT_NODE ? node.parentElement : node);

const turnAt = (node) => ownerOf.get(elementAt(node)?.closest?.(".desk-turn"));

const changed = (turn) => {
  dirty[isChanged(turn) ? "add" : "delete"](turn);
  turn.node.classList.toggle("desk-changed", dirty.has(turn) || turn.words.some((at) => seams.has(at)));
  showUnsaved();
};

const unsaved = () => dirty.size + confirmed.size + seams.size + (namesChanged() ? 1 : 0);

const showUnsaved = () => {
  const count = unsaved();
  saveButton.disabled = !count || saving;
  saveButton.textContent = count ? `Save (${count})` : "Save";
  clearTimeout(showUnsaved.timer);
  showUnsaved.timer = setTimeout(keepDraft, DRAFT_DELAY_MS);
};

// What is not saved

// A word, to be found again in another version.
const placed = (at) => ({ text: said.words[at][0], start: said.words[at][1], channel: said.words[at][5] });

const placeOf = ({ text, start, channel }) => said.words.findIndex(
  (word) => word[1] === start && word[0] === text && word[5] === channel,
);

const draft = () => ({
  names: namesChanged() ? [...names] : null,
  confirmed: [...confirmed].map(placed),
  seams: [...seams].map(([at, begins]) => ({ ...placed(at), begins })),
  edits: [...dirty].map((turn) => ({
    channel: turn.channel,
    start: turn.start,
    before: turn.text,
    after: textOf(turn),
    by: turn.by === turn.speaker ? undefined : turn.by,
  })),
});

const keepDraft = () => {
  clearTimeout(showUnsaved.timer);
  try {
    if (unsaved()) {
      localStorage.setItem(draftKey, JSON.stringify(draft()));
    } else {
      localStorage.removeItem(draftKey);
    }
  } catch {
    // No room, or not allowed: leaving is warned of all the same.
  }
};

const keptDraft = () => {
  try {
    return JSON.parse(localStorage.getItem(draftKey));
  } catch {
    return null;
  }
};

// Make changes again in what is shown now; those whose passage is not there any more.
const apply = ({ names: kept, edits, confirmed: right = [], seams: cuts = [] }) => {
  const homeless = [];
  for (const cut of cuts) {
    const at = placeOf(cut);
    const turn = turns.find(({ words }) => words.includes(at));
    if (turn && (turn.words[0] === at) !== cut.begins) {
      cut.begins ? split(turn, at) : join(turn);
    }
  }
  right.map(placeOf).filter((at) => at >= 0).forEach((at) => confirmed.add(at));
  mark();
  if (kept) {
    names = new Map(kept);
    turns.forEach(showVoice);
  }
  for (const edit of edits) {
    const turn = turnFor(turns, edit);
    if (turn) {
      setText(turn, edit.after);
      turn.by = edit.by ?? turn.by;
      showVoice(turn);
      changed(turn);
    } else if (!turns.some((each) => each.text === edit.after)) {
      homeless.push(edit);
    }
  }
  showUnsaved();
  return homeless;
};

const tellHomeless = (homeless) => {
  if (!homeless.length) {
    return;
  }
  const yours = document.createElement("ul");
  yours.append(...homeless.map(({ start, after }) => {
    const item = document.createElement("li");
    item.textContent = `${clock(start)}: ${after}`;
    return item;
  }));
  tell("Somebody else changed these passages as well. Yours read:", yours, button("Let them go", () => tell("")));
};

// Text within a passage, by its characters

const rangeIn = (box, from, to) => {
  const range = document.createRange();
  const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
  let done = 0;
  let begun = false;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const end = done + node.length;
    // What begins between two nodes begins in the latter.
    if (!begun && (from < end || (from === end && to === from))) {
      range.setStart(node, from - done);
      begun = true;
    }
    if (begun && to <= end) {
      range.setEnd(node, to - done);
      return range;
    }
    done = end;
  }
  range.selectNodeContents(box);
  if (!begun) {
    range.collapse(false);
  }
  return range;
};

const replaceIn = (turn, from, to, text) => {
  const range = rangeIn(turn.box, from, to);
  const { startContainer: node, startOffset: offset } = range;
  range.deleteContents();
  if (node.nodeType === Node.TEXT_NODE) {
    node.insertData(Math.min(offset, node.length), text);
  } else {
    range.insertNode(document.createTextNode(text));
  }
};

// Only what is different: the other words stay known by their times.
const setText = (turn, text) => {
  const now = turn.box.textContent;
  let from = 0;
  while (from < Math.min(now.length, text.length) && now[from] === text[from]) {
    from += 1;
  }
  let same = 0;
  while (same < Math.min(now.length, text.length) - from && now.at(-1 - same) === text.at(-1 - same)) {
    same += 1;
  }
  if (from + same < Math.max(now.length, text.length)) {
    replaceIn(turn, from, now.length - same, text.slice(from, text.length - same));
  }
};

// Where passages begin

// Some words as a passage; several voices' has none of its own, so that whoever it is given to is a change.
const passage = (channel, places, by) => {
  const voices = new Set(places.map((at) => saidBy[at]));
  const speaker = voices.size === 1 ? [...voices][0] : undefined;
  return { channel, speaker, by, start: said.words[places[0]][1], words: places, text: saidIn(said.words, places) };
};

const sew = (at, begins) => {
  seams.set(at, begins);
  if (begun.has(at) === begins) {
    seams.delete(at);
  }
  // These know passages as they were.
  match = null;
  replaced = [];
  find("desk-undo-all").hidden = true;
};

const findBefore = (turn) => turns.slice(0, turns.indexOf(turn)).findLast(({ channel }) => channel === turn.channel);

const rangeBefore = (node) => {
  const range = document.createRange();
  range.setStartBefore(node);
  return range;
};

// `range` begins in front of the word, or of what was written there.
const split = (turn, at, range = rangeBefore(spans[at])) => {
  range.setEnd(turn.box, turn.box.childNodes.length);
  const rest = range.extractContents();
  for (const [part, edge, trimmed] of [[turn.box, "lastChild", "trimEnd"], [rest, "firstChild", "trimStart"]]) {
    part.normalize();
    if (part[edge]?.nodeType === Node.TEXT_NODE) {
      part[edge].data = part[edge].data[trimmed]();
    }
  }
  const cut = turn.words.indexOf(at);
  const second = passage(turn.channel, turn.words.slice(cut), turn.by);
  Object.assign(turn, passage(turn.channel, turn.words.slice(0, cut), turn.by));
  turn.node.insertAdjacentHTML("afterend", htmlOf(second, ""));
  adopt(second, turn.node.nextElementSibling);
  second.box.append(rest);
  bind(second.box);
  turns.splice(turns.indexOf(turn) + 1, 0, second);
  sew(at, true);
  [turn, second].forEach(changed);
  return second;
};

// With the passage before it, whose voice it is given.
const join = (turn) => {
  const before = findBefore(turn);
  if (!before) {
    return;
  }
  const [at] = turn.words;
  before.box.append(spaced(textOf(before), textOf(turn)) ? " " : "", ...turn.box.childNodes);
  Object.assign(before, passage(turn.channel, [...before.words, ...turn.words], before.by ?? turn.by));
  turns.splice(turns.indexOf(turn), 1);
  turn.node.remove();
  dirty.delete(turn);
  sew(at, false);
  showVoice(before);
  changed(before);
};

const caret = () => {
  const selection = getSelection();
  const turn = selection.rangeCount && elementAt(selection.anchorNode)?.closest(".desk-text") && turnAt(selection.anchorNode);
  return turn ? [turn, selection.getRangeAt(0)] : [];
};

const splitHere = () => {
  const [turn, range] = caret();
  if (!turn) {
    say("Put the caret where the passage is to be split.");
    return;
  }
  const cut = range.cloneRange();
  cut.collapse(true);
  const span = elementAt(cut.startContainer).closest("[data-w]");
  if (span) {
    // Not within a word.
    const isAtEnd = cut.startOffset && cut.startOffset === cut.startContainer.length;
    cut[isAtEnd ? "setStartAfter" : "setStartBefore"](span);
  }
  const at = turn.words.find((place) => spans[place]?.isConnected && cut.comparePoint(spans[place], 0) > 0);
  if (at === undefined || at === turn.words[0]) {
    say("There are no words to split from others: put the caret between two.");
    return;
  }
  const second = split(turn, at, cut);
  putCaret(second, 0);
  say("Split. Click on the name for another speaker; Backspace joins it again.");
};

const joinHere = () => {
  const [turn] = caret();
  if (!turn) {
    say("Put the caret into the passage that is to be joined with the one before.");
    return;
  }
  const before = findBefore(turn);
  if (!before) {
    say("There is no passage before this one.");
    return;
  }
  const seam = before.box.textContent.length;
  join(turn);
  putCaret(before, seam);
  say("Joined with the passage before. Enter splits it again.");
};

const putCaret = (turn, offset) => {
  const range = rangeIn(turn.box, offset, offset);
  select(range.startContainer, range.startOffset, range.startOffset);
};

// What is heard

const wordAt = (seconds) => {
  let [below, above] = [0, starts.length];
  while (below < above) {
    const middle = (below + above) >> 1;
    if (starts[middle] <= seconds) {
      below = middle + 1;
    } else {
      above = middle;
    }
  }
  return below - 1;
};

const isEditing = () => Boolean(document.activeElement?.closest(".desk-text"));

const showPlace = (seconds) => {
  const at = wordAt(seconds + 0.01);
  const span = at >= 0 && seconds <= said.words[at][2] + LINGER_SECONDS ? spans[at] : null;
  if (span === shown) {
    return;
  }
  shown?.classList.remove("desk-now");
  span?.classList.add("desk-now");
  shown = span;
  if (span && player.playing && find("desk-follow").checked && !isEditing()) {
    reveal(span);
  }
};

// Not under the player, which stays at the top.
const reveal = (node, always = false) => {
  const { top, bottom } = node.getBoundingClientRect();
  const covered = Math.max(...[...desk.querySelectorAll(".desk-top, .desk-player")].map((each) => each.getBoundingClientRect().bottom));
  if (always || top < covered + 8 || bottom > innerHeight - 40) {
    node.scrollIntoView({ block: "center" });
  }
};

// Words that were hardly understood

const mark = () => {
  const below = Number(threshold.value);
  low = [];
  said.words.forEach(([, , , confidence], at) => {
    const isLow = confidence !== null && confidence < below && !confirmed.has(at);
    spans[at]?.classList.toggle("desk-low", isLow);
    spans[at]?.classList.toggle("desk-right", confirmed.has(at));
    if (isLow) {
      low.push(at);
    }
  });
  find("desk-marked").textContent = low.length === 1 ? "1 is marked" : `${low.length} are marked`;
};

const stepTo = (direction) => {
  const open = low.filter((at) => spans[at]?.isConnected && spans[at].textContent === said.words[at][0]);
  const next = direction > 0 ? open.find((at) => at > stoodAt) : open.findLast((at) => at < stoodAt);
  if (next === undefined) {
    say(open.length ? `There is none ${direction > 0 ? "after" : "before"} this one.` : "No word is marked.");
    stoodAt = direction > 0 ? -1 : said.words.length;
    return;
  }
  stoodAt = next;
  const [text, start, , confidence] = said.words[next];
  select(spans[next].firstChild, 0, spans[next].firstChild.length);
  player?.seek(start);
  say(`“${text}”, ${Math.round(confidence * 100)} % sure: ${open.indexOf(next) + 1} of ${open.length}.`);
};

// The word of the caret, or the one that was stepped to, is right as it is; or no longer.
const confirmWord = () => {
  const here = elementAt(getSelection().anchorNode)?.closest("[data-w]");
  const at = here ? Number(here.dataset.w) : isEditing() ? -1 : stoodAt;
  const [text, , , confidence] = said.words[at] ?? [];
  if (!spans[at]?.isConnected || spans[at].textContent !== text || !(confirmed.has(at) || low.includes(at))) {
    say(confidence === null ? "Somebody wrote or confirmed this word." : "Step to a marked word, or click on one, to confirm it.");
    return;
  }
  const isRight = !confirmed.delete(at);
  if (isRight) {
    confirmed.add(at);
  }
  stoodAt = at;
  mark();
  showUnsaved();
  say(isRight ? `“${text}” is right. The same again takes it back.` : `“${text}” is marked again.`);
};

const select = (node, from, to, last = node) => {
  const range = document.createRange();
  range.setStart(node, from);
  range.setEnd(last, to);
  turnAt(node)?.box.focus({ preventScroll: true });
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
  reveal(node.parentElement, true);
};

// Find and replace

const finding = find("desk-find");
let match = null;
let replaced = [];

const wanted = () => [find("desk-find-what").value, {
  matchCase: find("desk-find-case").checked,
  wholeWords: find("desk-find-whole").checked,
}];

const matchesIn = (turn) => found(turn.box.textContent, ...wanted());

const findNext = () => {
  const first = match ? turns.indexOf(match.turn) : 0;
  for (let step = 0; step <= turns.length; step += 1) {
    const turn = turns[(Math.max(first, 0) + step) % turns.length];
    const hit = matchesIn(turn).find(([from]) => step > 0 || !match || from >= match.to);
    if (hit) {
      match = { turn, from: hit[0], to: hit[1] };
      const range = rangeIn(turn.box, ...hit);
      select(range.startContainer, range.startOffset, range.endOffset, range.endContainer);
      const count = turns.reduce((sum, each) => sum + matchesIn(each).length, 0);
      say(`Found ${count === 1 ? "once" : `${count} times`}.`);
      return;
    }
  }
  match = null;
  say("It was not found.");
};

const replaceOne = () => {
  const now = match && matchesIn(match.turn).find(([from, to]) => from === match.from && to === match.to);
  if (now) {
    const by = find("desk-find-by").value;
    replaceIn(match.turn, ...now, by);
    changed(match.turn);
    match.to = match.from + by.length;
  }
  findNext();
};

const replaceAll = () => {
  const by = find("desk-find-by").value;
  replaced = [];
  let count = 0;
  for (const turn of turns) {
    const hits = matchesIn(turn);
    if (hits.length) {
      replaced.push([turn, turn.box.innerHTML]);
      for (const [from, to] of hits.reverse()) {
        replaceIn(turn, from, to, by);
      }
      changed(turn);
      count += hits.length;
    }
  }
  find("desk-undo-all").hidden = !count;
  say(count === 1 ? "Replaced once." : `Replaced ${count} times.`);
};

const undoReplace = () => {
  for (const [turn, html] of replaced) {
    turn.box.innerHTML = html;
    bind(turn.box);
    changed(turn);
  }
  replaced = [];
  find("desk-undo-all").hidden = true;
  mark();
  say("Undone.");
};

const openFind = () => {
  const opens = finding.hidden;
  finding.hidden = !opens;
  find("desk-find-open").setAttribute("aria-expanded", String(opens));
  if (opens) {
    const chosen = getSelection().toString().trim();
    find("desk-find-what").value = chosen || find("desk-find-what").value;
    find("desk-find-what").focus();
  }
};

// Who says it

const voiceDialog = find("desk-voice");
const voiceBy = find("desk-voice-by");
const voiceName = find("desk-voice-name");

const askVoice = (turn) => {
  const speakers = new Set(turns.filter(({ channel }) => channel === turn.channel).map(({ by }) => by));
  const numbers = [...speakers].filter((speaker) => speaker !== null).sort((one, other) => one - other);
  const options = [...(turn.by === null ? [null] : []), ...numbers].map(
    (speaker) => new Option(nameOf(turn.channel, speaker) || "One speaker", speaker ?? "", false, speaker === turn.by),
  );
  const another = (numbers.at(-1) ?? -1) + 1;
  voiceBy.replaceChildren(...options, new Option("Another speaker", another));
  const chosen = () => (voiceBy.value === "" ? null : Number(voiceBy.value));
  const showName = () => { voiceName.value = names.get(voiceKey(turn.channel, chosen())) ?? ""; };
  voiceBy.onchange = showName;
  showName();
  voiceDialog.returnValue = "";
  voiceDialog.onclose = () => {
    // Another version may have been loaded meanwhile.
    if (voiceDialog.returnValue !== "apply" || !turns.includes(turn)) {
      return;
    }
    const name = squeezed(voiceName.value);
    const key = voiceKey(turn.channel, chosen());
    if (name !== (names.get(key) ?? "")) {
      names[name ? "set" : "delete"](key, name);
    }
    turn.by = chosen();
    turns.forEach(showVoice);
    changed(turn);
  };
  voiceDialog.showModal();
  voiceName.focus();
};

// Loading and saving

const load = async () => {
  const response = await fetch(desk.dataset.words);
  if (response.redirected) {
    location.reload();
    return;
  }
  if (!response.ok) {
    throw new Error(String(response.status));
  }
  said = await response.json();
  turns = said.words.length || !said.text
    ? turnsOf(said.words)
    : [{ channel: null, speaker: null, start: 0, words: [], text: squeezed(said.text) }];
  spans = new Array(said.words.length);
  starts = Float64Array.from(said.words, ([, start]) => start);
  begun = new Set(turns.map(({ words }) => words[0]));
  saidBy = [];
  turns.forEach(({ words, speaker }) => words.forEach((at) => { saidBy[at] = speaker; }));
  names = namesOf(said.speakers);
  dirty.clear();
  confirmed.clear();
  seams.clear();
  match = shown = null;
  replaced = [];
  stoodAt = -1;
  render();
};

const correction = () => {
  const body = { based_on: said.version };
  const edits = [...dirty].map((turn) => ({
    words: turn.words,
    ...(textOf(turn) !== turn.text && { text: textOf(turn) }),
    ...(turn.by !== turn.speaker && { speaker: turn.by }),
  }));
  if (!said.words.length && edits.length) {
    body.text = textOf(turns[0]);
  } else if (edits.length) {
    body.edits = edits;
  }
  if (confirmed.size) {
    body.confirmed = [...confirmed];
  }
  if (seams.size) {
    body.paragraphs = [...seams].map(([word, begins]) => ({ word, begins }));
  }
  if (namesChanged()) {
    body.speakers = speakers();
  }
  return body;
};

const save = async () => {
  if (saving || voiceDialog.open || !unsaved()) {
    return;
  }
  saving = true;
  saveButton.disabled = true;
  say("Saving…");
  tell("");
  keepDraft();
  const sent = new Map([...dirty].map((turn) => [turn, textOf(turn)]));
  const sentNames = JSON.stringify(speakers());
  try {
    const response = await fetch(desk.dataset.save, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": csrfToken() },
      body: JSON.stringify(correction()),
    });
    const answer = await response.json().catch(() => ({}));
    if (response.status === 201) {
      // What was written meanwhile goes on in the new version.
      const later = draft().edits.flatMap((edit, index) => {
        const before = sent.get([...dirty][index]) ?? edit.before;
        return before === edit.after ? [] : [{ ...edit, before, by: undefined }];
      });
      const laterNames = JSON.stringify(speakers()) === sentNames ? null : [...names];
      const place = scrollY;
      await load();
      scrollTo({ top: place });
      tellHomeless(apply({ names: laterNames, edits: later }));
      keepDraft();
      say(`Saved as version ${answer.version}.`);
    } else if (response.status === 401) {
      say("Not saved.");
      tell(...signInAgain());
    } else if (answer.error?.code === "transcript_changed") {
      say("Not saved.");
      tell(`${answer.error.message} `, button(`Load it, and keep my changes`, takeTheirs));
    } else {
      say("Not saved.");
      tell(answer.error?.message ?? `Not saved: the server answered ${response.status}. Your changes are kept here; try again.`);
    }
  } catch {
    say("Not saved.");
    tell("Not saved: the connection was lost. Your changes are kept here; try again.");
  } finally {
    saving = false;
    showUnsaved();
  }
};

const takeTheirs = async () => {
  const mine = draft();
  try {
    await load();
  } catch {
    tell("It could not be loaded. Your changes are kept here; try again.");
    return;
  }
  tell("");
  const homeless = apply(mine);
  tellHomeless(homeless);
  say(`This is version ${said.version}, with your changes.`);
};

// What people do

// What was sent is compared, passage by passage, with what is there when it is saved.
const settled = (action) => () => (saving ? say("Wait until it is saved.") : action());

list.addEventListener("click", (event) => {
  const { target } = event;
  const turn = turnAt(target);
  if (target.closest("button.desk-voice")) {
    settled(() => askVoice(turn))();
  } else if (target.closest(".desk-time")) {
    player?.seek(turn.start);
  } else if (target.dataset.w && getSelection().isCollapsed) {
    stoodAt = Number(target.dataset.w);
    player?.seek(said.words[stoodAt][1]);
  }
});
list.addEventListener("input", (event) => changed(turnAt(event.target)));
list.addEventListener("beforeinput", (event) => {
  // A passage is one paragraph.
  if (event.inputType === "insertParagraph" || event.inputType === "insertLineBreak") {
    event.preventDefault();
    settled(splitHere)();
  }
});
threshold.addEventListener("change", mark);
find("desk-next").addEventListener("click", () => stepTo(1));
find("desk-previous").addEventListener("click", () => stepTo(-1));
const showKeys = () => find("desk-keys").showModal();
find("desk-keys-open").addEventListener("click", showKeys);

if (mayCorrect) {
  saveButton.addEventListener("click", save);
  for (const [id, action] of [["desk-confirm", confirmWord], ["desk-split", splitHere], ["desk-join", joinHere]]) {
    // The caret stays where it is.
    find(id).addEventListener("pointerdown", (event) => event.preventDefault());
    find(id).addEventListener("click", settled(action));
  }
  find("desk-find-open").addEventListener("click", openFind);
  find("desk-replace").addEventListener("click", replaceOne);
  find("desk-replace-all").addEventListener("click", replaceAll);
  find("desk-undo-all").addEventListener("click", undoReplace);
  finding.addEventListener("submit", (event) => {
    event.preventDefault();
    findNext();
  });
}

const isAtStart = (box) => {
  const [turn, range] = caret();
  if (turn?.box !== box || !range.collapsed) {
    return false;
  }
  const before = document.createRange();
  before.selectNodeContents(box);
  before.setEnd(range.startContainer, range.startOffset);
  return !before.toString();
};

const keys = (event) => {
  const { key, code, altKey, shiftKey } = event;
  const control = event.ctrlKey || event.metaKey;
  const inText = event.target.closest(".desk-text");
  const inField = inText || event.target.closest("input, select, textarea, dialog");
  const alone = !inField && !altKey && !control;
  if (control && !altKey && key.toLowerCase() === "s") {
    return mayCorrect && save;
  }
  if (control && !altKey && key.toLowerCase() === "h") {
    return mayCorrect && openFind;
  }
  if (key === "?" && !inField) {
    return showKeys;
  }
  if (key === "Escape" && inText) {
    return () => { inText.blur(); };
  }
  if (mayCorrect && key === "Backspace" && inText && isAtStart(inText)) {
    return settled(joinHere);
  }
  if (mayCorrect && (altKey || alone) && !control && code === "KeyC") {
    return settled(confirmWord);
  }
  if ((altKey || alone) && !control && code === "KeyN") {
    return () => stepTo(shiftKey ? -1 : 1);
  }
  if (player && code === "Space" && ((control && inText) || (alone && !event.target.closest("button, a, summary")))) {
    return () => player.toggle();
  }
  const back = (alone && key === "ArrowLeft") || (altKey && code === "KeyJ");
  const forward = (alone && key === "ArrowRight") || (altKey && code === "KeyL");
  return player && (back || forward) && (() => player.skip(back ? -3 : 3));
};
document.addEventListener("keydown", (event) => {
  const action = keys(event);
  if (action) {
    event.preventDefault();
    action();
  }
});
window.addEventListener("beforeunload", (event) => {
  if (unsaved()) {
    keepDraft();
    event.preventDefault();
  }
});

try {
  await load();
  const kept = mayCorrect && keptDraft();
  const homeless = kept ? apply(kept) : [];
  tellHomeless(homeless);
  if (unsaved()) {
    say("Changes that were not saved are here again.");
    status.append(" ", button("Throw them away", () => {
      [dirty, confirmed, seams].forEach((each) => each.clear());
      names = namesOf(said.speakers);
      keepDraft();
      location.reload();
    }));
  }
  const from = /^#t=([\d.]+)$/.exec(location.hash);
  if (from) {
    player?.seek(Number(from[1]));
    const span = spans[wordAt(Number(from[1]))];
    if (span) {
      reveal(span, true);
    }
  }
} catch {
  tell("The transcript could not be loaded. Load the page again.");
}
player?.draw(desk.dataset.waveform);
