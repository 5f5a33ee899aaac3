// What test_every_page.py asks of each page. Playwright adds it before the page's own scripts, past its policy.
(() => {
  const shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (entry.hadRecentInput) continue;
      const moved = entry.sources.map((source) => source.node && describe(source.node)).filter(Boolean);
      shifts.push(`${entry.value.toFixed(4)} moved ${moved.join(", ") || "something that is gone"}`);
    }
  }).observe({ type: "layout-shift", buffered: true });

  const CONTROLS = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";

  function describe(node) {
    const element = node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement;
    if (!element) return "";
    const names = [element.id && `#${element.id}`, ...[...element.classList].map((name) => `.${name}`)];
    const words = (element.textContent || element.getAttribute("aria-label") || element.name || "").trim();
    return `<${element.localName}${names.filter(Boolean).join("")}> "${words.replace(/\s+/g, " ").slice(0, 40)}"`;
  }

  function isShown(element) {
    const box = element.getBoundingClientRect();
    const isClosed = element.closest("details:not([open])") && !element.closest("summary");
    return box.width > 1 && box.height > 1 && box.right > 0 && !isClosed && element.checkVisibility({ visibilityProperty: true });
  }

  /** Of the topmost dialog if one is open: what lies behind it cannot be reached. */
  function shownControls() {
    const root = [...document.querySelectorAll("dialog[open]")].pop() ?? document;
    return [...root.querySelectorAll(CONTROLS)].filter(isShown);
  }

  globalThis.inspections = {
    shifts,

    frames: () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve)))),

    /** One tick, as shell.js makes them every three seconds. Resolves with the parts that did not refresh themselves. */
    async tick(patience) {
      const parts = new Set(document.querySelectorAll("[hx-trigger*='tick']"));
      const settled = new Promise((resolve) => {
        if (!parts.size) resolve();
        const done = ({ target }) => {
          parts.delete(target);
          if (!parts.size) resolve();
        };
        document.body.addEventListener("htmx:afterSettle", done);
        // shell.js keeps a part that is as it was.
        window.addEventListener("htmx:beforeSwap", (event) => event.detail.shouldSwap || done(event));
      });
      document.body.dispatchEvent(new Event("tick"));
      await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, patience))]);
      await inspections.frames();
      return [...parts].map((part) => part.getAttribute("hx-get"));
    },

    /** Everything a person reads or hears, shown now or later. */
    texts() {
      const found = [document.title];
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        if (!walker.currentNode.parentElement.closest("script, [lang]:not(html)")) found.push(walker.currentNode.data);
      }
      for (const name of ["aria-label", "placeholder", "title", "alt", "data-label", "data-sure", "data-counted", "data-done"]) {
        for (const element of document.querySelectorAll(`[${name}]`)) found.push(element.getAttribute(name));
      }
      return [...new Set(found.map((text) => text.replace(/\s+/g, " ").trim()).filter(Boolean))];
    },

    /** What makes the page scroll sideways, or sticks out of its card. */
    sideways() {
      const wide = document.documentElement.scrollWidth - innerWidth;
      const outside = [...document.querySelectorAll("body *")].filter((element) => {
        if (!isShown(element) || element.closest(".unseen, option, svg *")) return false;
        const edge = element.parentElement.closest(".card, dialog, main, body").getBoundingClientRect();
        return element.getBoundingClientRect().right > Math.min(edge.right, innerWidth) + 1;
      });
      const inner = outside.filter((element) => !outside.some((other) => other !== element && element.contains(other)));
      const said = inner.slice(0, 5).map((element) => `${describe(element)} sticks out`);
      return wide > 0 ? [`the page is ${wide} px too wide`, ...said] : said;
    },

    /** Controls that a finger misses. A tick is touched by its label. */
    small() {
      return shownControls().flatMap((element) => {
        const target = element.closest("label") ?? element;
        const isPacking = element.closest("#line") && element.matches("button:not(.quiet), input, textarea, select");
        const least = isPacking && !element.matches("[type=checkbox], [type=radio]") ? 64 : 44;
        const height = Math.max(target.getBoundingClientRect().height, element.getBoundingClientRect().height);
        return height < least - 0.5 ? [`${describe(element)} is ${height.toFixed(0)} px high, not ${least}`] : [];
      });
    },

    /** On a phone a row is a card: each value stands beside the name of its column, and the head is not shown. */
    cards() {
      const tables = [...document.querySelectorAll("table:not(.plain-table)")].filter(isShown);
      const heads = tables.flatMap((table) => [...table.querySelectorAll("thead")]);
      const cells = tables.flatMap((table) => [...table.querySelectorAll("tbody td")]).filter(isShown);
      const isCard = (cell) => getComputedStyle(cell).display === "flex" && getComputedStyle(cell.parentElement).display === "block";
      const isNamed = ({ dataset, classList }) => dataset.label || classList.contains("buttons");
      return [
        ...heads.filter((head) => getComputedStyle(head).display !== "none").map((head) => `the head ${describe(head)} is shown`),
        ...cells.filter((cell) => !isCard(cell)).map((cell) => `${describe(cell)} is in no card`),
        ...cells.filter((cell) => !isNamed(cell)).map((cell) => `${describe(cell)} has no data-label`),
      ];
    },

    /** Digits that are not all as wide as each other: numbers that change jump about. */
    figures() {
      const ownText = ({ childNodes }) => [...childNodes].map((node) => (node.nodeType === Node.TEXT_NODE ? node.data : "")).join("");
      const shown = [...document.querySelectorAll("body *")].filter(isShown);
      const withDigits = shown.filter((element) => /\d/.test(element.value ?? ownText(element)));
      const looks = ({ fontFamily, fontVariantNumeric }) => /monospace/.test(fontFamily) || /tabular-nums/.test(fontVariantNumeric);
      return withDigits.filter((element) => !looks(getComputedStyle(element))).map(describe);
    },

    /** From now on, where the focus went and whether it could be seen there. */
    followFocus() {
      // By their descriptions: a part that refreshes itself meanwhile has new elements.
      inspections.focused = new Map();
      // A page may put the focus into its first field.
      if (document.activeElement !== document.body) inspections.focused.set(describe(document.activeElement), true);
      document.addEventListener("focusin", ({ target }) => {
        const look = getComputedStyle(target);
        const isMarked = target.matches(":focus-visible") && look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2;
        inspections.focused.set(describe(target), isMarked);
      });
      const reachable = shownControls().filter((element) => !element.disabled && element.tabIndex >= 0);
      // Tab stops at each part of a date and at its calendar.
      return reachable.length + 6 * reachable.filter((element) => /^date/.test(element.type)).length;
    },

    missedFocus() {
      const reachable = shownControls().filter((element) => !element.disabled && element.tabIndex >= 0);
      const asked = reachable.filter((element) => {
        // Of a group of radio buttons, Tab reaches the chosen one; arrow keys reach the others.
        return element.type !== "radio" || element.checked;
      });
      return [
        ...asked.map(describe).filter((control) => !inspections.focused.has(control)).map((control) => `Tab misses ${control}`),
        ...[...inspections.focused].filter(([, isMarked]) => !isMarked).map(([control]) => `no outline at ${control}`),
      ];
    },

    /** Whether a control of a part that refreshes itself keeps the focus. */
    async keepFocus(patience) {
      const control = [...document.querySelectorAll("[hx-trigger*='tick'] :is(a[href], button)")].find(isShown);
      if (!control) return [];
      control.focus();
      const before = describe(control);
      await inspections.tick(patience);
      const after = describe(document.activeElement);
      return after === before ? [] : [`a refresh moves the focus from ${before} to ${after}`];
    },

    async axe(rules) {
      const only = rules ? { type: "rule", values: rules } : ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
      const { violations } = await axe.run(document, { runOnly: only, resultTypes: ["violations"] });
      return violations
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .flatMap(({ id, help, nodes }) => nodes.slice(0, 3).map((node) => `${id} (${help}) at ${node.target}: ${node.any[0]?.message ?? node.html}`));
    },

    openAll: () => document.querySelectorAll("details").forEach((details) => (details.open = true)),
    closeAll: () => document.querySelectorAll("details").forEach((details) => (details.open = false)),
    dialogs: () => document.querySelectorAll("dialog").length,

    /** Opens a dialog as its script would: with a title. */
    show(number) {
      const dialog = document.querySelectorAll("dialog")[number];
      const title = document.getElementById(dialog.getAttribute("aria-labelledby"));
      if (title && !title.textContent) title.textContent = "…";
      dialog.showModal();
      return dialog.id;
    },
    close: (number) => document.querySelectorAll("dialog")[number].close(),
  };
})();
