// The page of a live session that goes on: what is said is added as it is stored (server-sent events), and its state
// asked for when there is something new.

const PAUSE_SECONDS = 2;
const NEWS_MS = 3000;
const PATIENCE_MS = 10000;

const page = document.getElementById("following");
const said = document.getElementById("said");

const voice = (word) => (word.speaker === undefined ? "" : `Speaker ${word.speaker + 1}`);

// A result as `{key, start, end, name, text}`, one for each change of speaker in it.
const passagesOf = ({ channel, connection, start, end, text, words }) => {
  const passages = [];
  for (const word of words) {
    const name = voice(word);
    const last = passages.at(-1);
    const written = word.punctuated_word ?? word.word;
    if (last?.name === name) {
      last.text += ` ${written}`;
      last.end = word.end;
    } else {
      passages.push({ key: `${channel}:${connection}:${name}`, start: word.start, end: word.end, name, text: written });
    }
  }
  return words.length || !text ? passages : [{ key: `${channel}:${connection}:`, start, end, name: "", text }];
};

// What was said last by this voice goes on, unless it paused; what fills a hole stands where it belongs.
const add = (passage) => {
  const last = said.lastElementChild;
  if (last?.dataset.key === passage.key && Math.abs(passage.start - last.dataset.end) < PAUSE_SECONDS) {
    last.append(` ${passage.text}`);
    last.dataset.end = passage.end;
    return;
  }
  const paragraph = document.createElement("p");
  // As the server writes them.
  paragraph.dir = "auto";
  if (passage.name) {
    const name = document.createElement("bdi");
    name.textContent = passage.name;
    paragraph.append(name, ": ");
  }
  paragraph.append(passage.text);
  Object.assign(paragraph.dataset, { key: passage.key, start: passage.start, end: passage.end });
  const before = [...said.children].findLast((each) => each.dataset.start <= passage.start);
  if (before) {
    before.after(paragraph);
  } else {
    said.prepend(paragraph);
  }
};

let asked = null;
const askForNews = () => {
  asked ??= setTimeout(async () => {
    try {
      const response = await fetch(page.dataset.news);
      if (response.ok && !response.redirected) {
        const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
        for (const part of fresh.querySelectorAll("[id^=session-]")) {
          document.getElementById(part.id).replaceWith(part);
        }
      }
    } catch {
      // With the next result, or change.
    }
    asked = null;
  }, NEWS_MS);
};

let events = null;
const follow = () => {
  // All results come again, from the first one on.
  let isNew = true;
  events = new EventSource(page.dataset.events);
  events.addEventListener("result", ({ data }) => {
    if (isNew) {
      said.replaceChildren();
      isNew = false;
    }
    const isAtEnd = said.scrollHeight - said.scrollTop - said.clientHeight < 40;
    passagesOf(JSON.parse(data)).forEach(add);
    if (isAtEnd) {
      said.scrollTop = said.scrollHeight;
    }
    askForNews();
  });
  events.addEventListener("state", ({ data }) => {
    if (["ended", "deleted"].includes(JSON.parse(data).state)) {
      events.close();
      location.reload();
    } else {
      askForNews();
    }
  });
  events.addEventListener("open", () => page.classList.remove("job-stale"));
  events.addEventListener("error", () => {
    page.classList.add("job-stale");
    if (events.readyState === EventSource.CLOSED) {
      // Refused: logged out, over, or too many who follow. The page itself tells which.
      setTimeout(() => location.reload(), PATIENCE_MS);
    }
  });
};

// A browser keeps few connections to one server: those that nobody looks at are left to others.
document.addEventListener("visibilitychange", () => {
  events.close();
  if (!document.hidden) {
    follow();
  }
});
follow();
