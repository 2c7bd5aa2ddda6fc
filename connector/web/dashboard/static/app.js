// Keeps a page up to date: asks often after something changed or was done, seldom on an idle page, never when hidden.
(() => {
  // a poll with a change costs up to 80 ms of a core with a million events: at most 2 % of it for an open page
  const BUSY_MS = 4000, IDLE_MS = 20000, BUSY_FOR_MS = 60000;
  let busyUntil = Date.now() + BUSY_FOR_MS, asked = Date.now();

  const page = () => document.getElementById("page");
  const isTyping = () => {
    const field = document.activeElement;
    return field && field.closest("main") && /^(INPUT|TEXTAREA|SELECT)$/.test(field.tagName);
  };
  const refresh = () => {
    asked = Date.now();
    htmx.trigger(page(), "refresh");
  };
  const showVerdict = () => {
    const { level, title, verdict } = page().dataset;
    document.title = (level === "ok" ? "" : verdict + " · ") + title + " – connector";
    const icon = document.getElementById("favicon");
    icon.href = icon.href.replace(/favicon-\w+/, "favicon-" + level);
  };

  // Without an answer of the service a page is outdated: it turns red until the next answer.
  let known = null;
  const show = ({ level, verdict }) => {
    Object.assign(page().dataset, { level, verdict });
    document.getElementById("verdict").className = "verdict " + level;
    document.querySelector("#verdict span").textContent = verdict;
    showVerdict();
  };
  const lose = () => {
    if (known) return;
    known = { level: page().dataset.level, verdict: page().dataset.verdict };
    show({ level: "bad", verdict: page().dataset.lost });
  };
  const find = () => {
    if (known) show(known);
    known = null;
  };
  document.addEventListener("htmx:error", lose);
  document.addEventListener("htmx:finally:request", (event) => {
    const { status } = event.detail.ctx.response || {};
    if (status >= 500) lose();
    else if (status) find();
  });

  setInterval(() => {
    const wait = Date.now() < busyUntil ? BUSY_MS : IDLE_MS;
    if (!document.hidden && !isTyping() && Date.now() - asked >= wait && page().hasAttribute("hx-get")) refresh();
  }, 1000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) asked = 0; });
  document.addEventListener("htmx:after:swap", () => { busyUntil = Date.now() + BUSY_FOR_MS; showVerdict(); });
  document.addEventListener("submit", () => { busyUntil = Date.now() + BUSY_FOR_MS; });

  const go = { o: "/", i: "/interviews", e: "/decisions", d: "/deliveries", s: "/sinks", r: "/routes", a: "/audit" };
  let isGoing = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    const search = document.querySelector("input[type=search]");
    if (isGoing && document.querySelector(`nav a[href="${go[event.key]}"]`)) location.href = go[event.key];
    isGoing = event.key === "g";
    if (event.key === "/" && search) { event.preventDefault(); search.focus(); }
    if (event.key === "r" && page().hasAttribute("hx-get")) refresh();
  });
  showVerdict();
})();
