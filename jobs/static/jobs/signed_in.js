// For pages that stand for longer than a session may: it ends, and another begins in another tab.

// Whoever signs in gets a new token, and the one that came with the page is worth nothing then.
export const csrfToken = () =>
  /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? document.querySelector("[name=csrfmiddlewaretoken]").value;

const login = document.querySelector("[data-login]").dataset.login;

// The admin answers whoever is signed out with the page to sign in on.
export const isLogin = (address) => Boolean(address) && new URL(address).pathname === login;

// What the page says to somebody who is signed out, the way to the login in it.
export const signInAgain = () => {
  const link = document.createElement("a");
  link.className = "job-link";
  link.href = login;
  link.target = "_blank";
  link.textContent = "Sign in";
  return ["You are signed out, and nothing on this page is lost. ", link, " in another tab, then try again."];
};
