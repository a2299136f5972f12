"use strict";
// Words for marks under the pointer or the focus, arrow keys between marks, the filter, and looking
// up single devices of large fleets. Everything else on the page works without this script.
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const tip = document.getElementById("tip");

  // -- words of a mark: its own, or the table row it stands for ------------------------------

  const words = (mark) => {
    if (mark.dataset.tip !== undefined) return mark.dataset.tip;
    const row = document.getElementById(mark.dataset.r);
    if (!row) return "";
    const heads = row.closest("table").tHead.rows[0].cells;
    return [...row.cells].map((cell, k) => `${heads[k].textContent}: ${cell.textContent}`).join("\n");
  };

  let current = null;
  const place = () => {
    if (!current) return;
    const box = current.getBoundingClientRect();
    tip.hidden = !tip.textContent || box.bottom < 0 || box.top > innerHeight;
    const wide = tip.offsetWidth, high = tip.offsetHeight;
    const left = Math.max(box.left, 0), right = Math.min(box.right, innerWidth);
    const middle = Math.min(Math.max((left + right - wide) / 2, 4), innerWidth - wide - 4);
    const above = box.top - high - 8;
    tip.style.left = `${Math.max(4, middle)}px`;
    tip.style.top = `${above > 4 ? above : Math.min(box.bottom + 8, innerHeight - high - 4)}px`;
  };
  const show = (mark) => {
    current = mark;
    tip.textContent = words(mark);
    place();
  };
  const hide = () => {
    current = null;
    tip.hidden = true;
  };
  const markOf = (event) => event.target.closest ? event.target.closest(".m") : null;

  for (const kind of ["pointerover", "focusin"]) {
    document.addEventListener(kind, (event) => {
      const mark = markOf(event);
      if (mark) show(mark); else hide();
    });
  }
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", place, { capture: true, passive: true });

  // -- arrow keys: one stop of the tab key a chart, arrows inside it --------------------------

  const reach = (mark) => {
    mark.setAttribute("tabindex", "0");
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", words(mark).replaceAll("\n", ", "));
  };
  for (const chart of all("[data-marks]")) {
    const first = chart.querySelector(".m");
    if (first) reach(first);
  }
  const centre = (mark) => {
    const box = mark.getBoundingClientRect();
    return box.left + box.width / 2;
  };
  const visible = (group) => all(".m", group).filter((mark) => mark.getClientRects().length);
  const beyond = (chart, mark, step) => {
    const groups = all("[data-group]", chart).filter((group) => visible(group).length);
    const next = groups[groups.indexOf(mark.closest("[data-group]")) + step];
    if (!next) return null;
    const here = centre(mark);
    return visible(next).reduce((best, other) =>
      Math.abs(centre(other) - here) < Math.abs(centre(best) - here) ? other : best);
  };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const mark = markOf(event);
    const chart = mark && mark.closest("[data-marks]");
    if (!chart) return undefined;
    const near = visible(mark.closest("[data-group]"));
    const at = near.indexOf(mark);
    const next = {
      ArrowLeft: () => near[at - 1], ArrowRight: () => near[at + 1],
      ArrowUp: () => beyond(chart, mark, -1), ArrowDown: () => beyond(chart, mark, 1),
      Home: () => near[0], End: () => near[near.length - 1],
    }[event.key];
    if (!next) return undefined;
    event.preventDefault();
    const target = next();
    if (target && target !== mark) {
      mark.setAttribute("tabindex", "-1");
      reach(target);
      target.focus();
    }
    return undefined;
  });

  // -- looking up: columns packed into the page, unpacked when first asked for ----------------

  const KINDS = { u4: Uint32Array, u2: Uint16Array, f4: Float32Array };
  const unpacked = new Map();
  const unpack = async (holder) => {
    const layout = JSON.parse(holder.querySelector(".layout").textContent);
    const packed = atob(holder.querySelector(".bytes").textContent);
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const raw = await new Response(stream).arrayBuffer();
    let at = 0;
    for (const column of layout.columns) {
      const Kind = KINDS[column.type];
      const end = at + layout.rows * Kind.BYTES_PER_ELEMENT;
      column.values = new Kind(raw.slice(at, end));
      at = end;
    }
    return layout;
  };
  const firstAtLeast = (values, wanted) => {
    let low = 0, high = values.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[middle] < wanted) low = middle + 1; else high = middle;
    }
    return low;
  };
  const cellText = (column, row) => {
    const value = column.values[row];
    if (column.names) return column.names[value];
    if (column.type !== "f4") return String(value);
    return Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "inf";
  };
  const MOST_ROWS = 200;
  const canUnpack = typeof DecompressionStream === "function";
  const lookUp = async (holder, ranges) => {
    holder.hidden = !ranges.length || !canUnpack;
    if (holder.hidden) return 0;
    if (!unpacked.has(holder)) unpacked.set(holder, unpack(holder));
    const layout = await unpacked.get(holder);
    const body = document.createElement("tbody");
    let found = 0;
    for (const [low, high] of ranges) {
      const end = firstAtLeast(layout.columns[0].values, high + 1);
      for (let row = firstAtLeast(layout.columns[0].values, low); row < end; row += 1) {
        found += 1;
        if (found > MOST_ROWS) continue;
        const line = body.insertRow();
        for (const column of layout.columns) line.insertCell().textContent = cellText(column, row);
      }
    }
    const table = holder.querySelector("table");
    table.tHead.replaceChildren();
    const heads = table.tHead.insertRow();
    for (const column of layout.columns) {
      const head = document.createElement("th");
      head.scope = "col";
      head.textContent = column.head;
      heads.append(head);
    }
    table.tBodies[0].replaceWith(body);
    return found;
  };

  // -- the filter: numbers and ranges of devices, names of tasks, the word stale --------------

  const input = document.getElementById("filter");
  const output = document.getElementById("filter-words");
  const tasks = all("[data-task-name]").map((item) => item.dataset.taskName.toLowerCase());
  const parse = (text) => {
    const wanted = { ranges: [], tasks: null, stale: false, unknown: [] };
    for (const word of text.toLowerCase().split(/[,;]/).map((part) => part.trim()).filter(Boolean)) {
      const numbers = /^(\d+)(?:\s*-\s*(\d+))?$/.exec(word);
      const hits = tasks.map((name, k) => (name.includes(word) ? k : -1)).filter((k) => k >= 0);
      if (numbers) {
        wanted.ranges.push([Number(numbers[1]), Number(numbers[2] ?? numbers[1])]);
      } else if (word === "stale") {
        wanted.stale = true;
      } else if (hits.length) {
        wanted.tasks = new Set([...(wanted.tasks ?? []), ...hits]);
      } else {
        wanted.unknown.push(word);
      }
    }
    return wanted;
  };
  let turn = 0;
  const apply = async () => {
    turn += 1;
    const mine = turn;
    const wanted = parse(input.value);
    const device = (item) => !wanted.ranges.length || wanted.ranges.some(
      ([low, high]) => low <= Number(item.dataset.d) && Number(item.dataset.d) <= high);
    const session = (item) => (!wanted.tasks || wanted.tasks.has(Number(item.dataset.t)))
      && (!wanted.stale || item.dataset.s !== undefined);
    let shown = 0, rows = 0;
    for (const item of all("[data-d]")) {
      const bars = all(".m[data-t]", item);
      for (const bar of bars) bar.classList.toggle("dim", !session(bar));
      let keep = device(item);
      if (item.dataset.t !== undefined) keep &&= session(item);
      else if (item.closest(".gantt") && (wanted.tasks || wanted.stale)) keep &&= bars.some(session);
      item.hidden = !keep;
      if (item.closest(".gantt")) {
        rows += 1;
        shown += keep ? 1 : 0;
      }
    }
    let found = 0;
    for (const holder of all("[data-lookup]")) found += await lookUp(holder, wanted.ranges);
    if (mine !== turn) return;
    const parts = [];
    if (input.value.trim()) parts.push(`${shown} of ${rows} rows of devices`);
    if (found) parts.push(`${found} rows looked up, the first ${MOST_ROWS} of each table shown`);
    if (!canUnpack && document.querySelector("[data-lookup]")) {
      parts.push("this browser is too old to look up devices");
    }
    if (wanted.unknown.length) parts.push(`not understood: ${wanted.unknown.join(", ")}`);
    output.textContent = parts.join("; ");
    for (const chart of all("[data-marks]")) {
      const marks = all(".m", chart);
      if (marks.some((mark) => mark.getAttribute("tabindex") === "0"
        && mark.getClientRects().length)) continue;
      const first = marks.find((mark) => mark.getClientRects().length);
      if (first) reach(first);
    }
  };
  document.querySelector(".filter").hidden = false;
  input.addEventListener("input", () => { hide(); apply(); });
  if (input.value) apply();

  // -- opening the part that a link names ------------------------------------------------------

  const openTarget = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    const part = target && target.querySelector("details.plan");
    if (part) part.open = true;
  };
  addEventListener("hashchange", openTarget);
  openTarget();
})();
