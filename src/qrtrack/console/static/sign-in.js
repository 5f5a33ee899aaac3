// A sign-in link carries its code behind the #, which browsers never send. Posting it spends it: a link preview, which
// runs no script, spends nothing.
function signIn() {
  const code = location.hash.slice(1);
  if (!code) return;
  history.replaceState(null, "", location.pathname + location.search);
  document.getElementById("by-link").hidden = false;
  document.getElementById("code").value = code;
  document.getElementById("sign-in").submit();
}

// A link that is opened in a tab that shows this page already loads nothing: only the part behind the # changes.
addEventListener("hashchange", signIn);
signIn();
