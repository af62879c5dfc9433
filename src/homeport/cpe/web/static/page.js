// Brings the parts marked data-live up to date without reloading the page, and waits for an agent that restarts. Without scripts the
// page reloads itself.
(function () {
  "use strict";
  var main = document.querySelector("main[data-every]");
  if (!main) return;
  var every = Number(main.dataset.every) * 1000;
  var then = main.dataset.then; // where to go once another run of the agent answers

  function busy(part) {
    var selection = String(document.getSelection());
    return selection !== "" || part.querySelector("details[open]") || (part.contains(document.activeElement) && document.activeElement !== document.body);
  }

  function run(page) {
    return page.querySelector("footer") && page.querySelector("footer").dataset.run;
  }

  async function look() {
    try {
      if (!document.hidden || then) {
        var here = location.pathname + location.search.replace(/[?&]said=[^&]*/, "");
        var answer = await fetch(then || here, { credentials: "same-origin", cache: "no-store" });
        if (answer.redirected && !then) { location.reload(); return; }
        var fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (then && run(fresh) !== run(document)) { location.replace(then); return; }
        if (!then) document.querySelectorAll("[data-live]").forEach(function (part) {
          var next = fresh.getElementById(part.id);
          if (next && next.outerHTML !== part.outerHTML && !busy(part)) part.replaceWith(document.adoptNode(next));
        });
        document.body.classList.remove("lost");
      }
    } catch (e) {
      document.body.classList.add("lost"); // the agent restarts, or the way to it is gone: go on asking
    }
    setTimeout(look, every);
  }
  setTimeout(look, every);
})();
