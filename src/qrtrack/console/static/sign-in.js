// A sign-in link has its code behind the #, which browsers never send. This script posts the code, which uses it up. A
// link preview runs no script, so it does not use up the code.
function signIn() {
  const code = location.hash.slice(1);
  if (!code) return;
  history.replaceState(null, "", location.pathname + location.search);
  document.getElementById("by-link").hidden = false;
  document.getElementById("code").value = code;
  document.getElementById("sign-in").submit();
}

// Whoever signs out leaves no half-typed list behind.
if (new URLSearchParams(location.search).has("signed_out")) {
  for (const key of Object.keys(sessionStorage)) if (key.startsWith("qrtrack.exclude.")) sessionStorage.removeItem(key);
}

// If the link is opened in a tab that already shows this page, the browser loads nothing: only the part behind the #
// changes.
addEventListener("hashchange", signIn);
signIn();
