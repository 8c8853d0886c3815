"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const bare = () => Object.create(null);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const SPAN = 60; // seconds of a plot
  let state = bare(), source = null, fresh = true, box = 0, heard = performance.now(), opened = 0, wanted = true;

  // All text of the box is put in as text: names of networks and operators come from strangers.
  const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  const make = (tag, kind, ...inside) => {
    const node = document.createElement(tag);
    if (kind) node.className = kind;
    node.append(...inside);
    return node;
  };
  const show = (node, visible) => { if (node.hidden === !!visible) node.hidden = !visible; };
  const level = (node, name) => { if (node.dataset.level !== name) node.dataset.level = name; };
  const all = (object) => Object.entries(object || bare());
  const plain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

  // A JSON merge patch (RFC 7396).
  const merge = (into, patch) => {
    for (const [key, value] of Object.entries(patch)) {
      if (value === null) delete into[key];
      else into[key] = plain(value) ? merge(plain(into[key]) ? into[key] : bare(), value) : value;
    }
    return into;
  };

  // A list by key: nodes stay, so that nothing loses its focus; they move only when the order is another.
  const lists = new Map();
  const list = (parent, items, create, update) => {
    const known = lists.get(parent) || lists.set(parent, new Map()).get(parent);
    const keys = new Set(items.map(([key]) => key));
    for (const [key, entry] of known) if (!keys.has(key)) { entry.node.remove(); known.delete(key); }
    items.forEach(([key, value], place) => {
      let entry = known.get(key);
      if (!entry) known.set(key, entry = create(key, value));
      if (parent.children[place] !== entry.node) parent.insertBefore(entry.node, parent.children[place] || null);
      update(entry, value, key);
    });
  };

  // --- how figures read -----------------------------------------------------------------------------------

  const rate = (kbps) => {
    if (kbps === undefined) return ["–", ""];
    if (kbps < 1000) return [String(kbps), "kbit/s"];
    return [(kbps / 1000).toFixed(kbps < 99950 ? 1 : 0), "Mbit/s"];
  };
  const ms = (value) => value === undefined ? ["–", ""] : [value < 1 ? "<1" : String(Math.round(value)), "ms"];
  const percent = (value) => value === undefined ? ["–", ""] : [value < 10 ? String(value) : String(Math.round(value)), "%"];
  const long = (seconds) => {
    const s = Math.max(0, Math.floor(seconds)), m = Math.floor(s / 60), h = Math.floor(m / 60), d = Math.floor(h / 24);
    if (d) return `${d} d ${h % 24} h`;
    if (h) return `${h} h ${m % 60} min`;
    return m ? `${m} min` : `${s} s`;
  };
  const now = () => box + (performance.now() - heard) / 1000;
  const since = (began) => long(now() - began);
  const amount = (mb) => mb < 1000 ? `${mb} MB` : `${(mb / 1000).toFixed(mb < 100000 ? 1 : 0)} GB`;

  // --- plots ----------------------------------------------------------------------------------------------

  let ink = null;
  const colours = () => {
    if (!ink) {
      const style = getComputedStyle(document.documentElement);
      ink = { blue: style.getPropertyValue("--blue"), fill: style.getPropertyValue("--fill"),
              bad: style.getPropertyValue("--bad"), quiet: style.getPropertyValue("--quiet") };
    }
    return ink;
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { ink = null; });

  const plot = (title, unit) => {
    const value = make("span"), small = make("small"), canvas = make("canvas");
    canvas.setAttribute("aria-hidden", "true");
    const node = make("div", "", make("dt", "", title), make("dd", "", value, " ", small), canvas);
    const past = [];
    return { node, canvas, past, bad: unit === "loss", title: node.firstChild,
      tell(figure, words) {
        put(value, words[0]); put(small, words[1]);
        const at = now();
        past.push([at, figure]);
        while (past.length && past[0][0] < at - SPAN) past.shift();
      } };
  };
  const draw = (one, top) => {
    const { canvas, past } = one, wide = canvas.clientWidth, high = canvas.clientHeight;
    if (!wide) return;
    const scale = devicePixelRatio || 1, pen = canvas.getContext("2d");
    if (canvas.width !== Math.round(wide * scale)) { canvas.width = Math.round(wide * scale); canvas.height = Math.round(high * scale); }
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, wide, high);
    const at = now(), c = colours(), span = past.length ? Math.min(SPAN, Math.max(10, at - past[0][0])) : SPAN;
    const x = (t) => wide * (1 - (at - t) / span), y = (v) => high - 1 - (high - 3) * Math.min(1, v / top);
    pen.strokeStyle = one.bad ? c.bad : c.blue;
    pen.fillStyle = one.bad ? c.bad : c.fill;
    pen.lineWidth = 1.5;
    pen.lineJoin = "round";
    let run = [];
    const flush = () => {
      if (run.length > 1) {
        pen.beginPath();
        run.forEach(([t, v], i) => i ? pen.lineTo(x(t), y(v)) : pen.moveTo(x(t), y(v)));
        pen.stroke();
        pen.lineTo(x(run[run.length - 1][0]), high);
        pen.lineTo(x(run[0][0]), high);
        pen.fill();
      }
      run = [];
    };
    for (const [t, v] of past) { if (v === undefined || (one.bad && !v)) flush(); else run.push([t, v]); }
    flush();
  };
  const highest = (plots, least) => Math.max(least, ...plots.flatMap((one) => one.past.map(([, v]) => v || 0)));

  // --- a card of a link or an uplink ----------------------------------------------------------------------

  const card = (titles) => {
    const name = make("h3"), word = make("span", "state"), why = make("p", "why"), more = make("p", "more");
    const plots = titles.map(([title, unit]) => plot(title, unit));
    const node = make("li", "", make("div", "head", name, word), why,
      make("dl", "plots", ...plots.map((one) => one.node)), more);
    return { node, name, word, why, more, plots };
  };

  // --- what a person sets ---------------------------------------------------------------------------------

  const TIMES = [["", "until I change it"], ["600", "10 minutes"], ["3600", "1 hour"], ["28800", "8 hours"], ["86400", "1 day"]];
  let serial = 0, undoing = null;
  const send = (path, body) => fetch(path, { method: "POST", cache: "no-store", body: JSON.stringify(body),
    headers: { "Content-Type": "application/json" } });
  const ask = async (path, body) => {
    let answer;
    try { answer = await send(path, body); } catch { throw new Error("The box does not answer."); }
    if (!answer.ok) throw new Error((await answer.text()).trim());
    return answer.json();
  };
  const toast = (text, undo) => {
    put($("toast-text"), text);
    undoing = undo;
    show($("undo"), undo);
    show($("toast"), true);
  };
  // To undo is to set again what was set before, or to unset what was not set.
  const restore = (uplink, what, before) => {
    const [one] = before.filter((each) => each.what === what);
    return one ? ["set", { uplink, what, value: one.value, yes: true, ...(one.left_s === null ? {} : { for_s: Math.max(1, one.left_s) }) }]
      : ["unset", { uplink, what }];
  };
  const perform = async (steps) => {
    const undo = [], said = [];
    for (const [path, body] of steps) {
      const told = await ask(path, body);
      said.push(told.text, ...told.warnings);
      const whats = body.what ? [body.what] : told.before.map((each) => each.what);
      undo.unshift(...whats.map((what) => restore(body.uplink, what, told.before)));
    }
    toast(said.join("; "), undo);
  };
  $("undo").addEventListener("click", async () => {
    const steps = undoing;
    show($("undo"), false);
    try { await perform(steps); show($("undo"), false); } catch (error) { toast(error.message, null); }
  });
  $("dismiss").addEventListener("click", () => show($("toast"), false));

  const setter = (summary) => {
    const id = `set${++serial}`, modes = {}, times = make("select"), wrong = make("p", "wrong");
    const group = make("fieldset", "", make("legend", "", "Mode"));
    const row = make("div", "modes");
    for (const [mode, words] of [["normal", "Normal"], ["backup", "Backup"], ["off", "Off"]]) {
      const input = make("input");
      Object.assign(input, { type: "radio", name: id, value: mode });
      modes[mode] = input;
      row.append(make("label", "", input, make("span", "", words)));
    }
    group.append(row);
    const number = (words, low, high) => {
      const input = make("input"), label = make("label", "", words);
      Object.assign(input, { type: "number", min: low, max: high, id: `${id}${words}`, inputMode: "numeric", required: true });
      label.htmlFor = input.id;
      return [input, make("div", "", label, input)];
    };
    const [weight, weightBox] = number("Weight", 1, 256), [priority, priorityBox] = number("Stream priority", 0, 100);
    times.id = `${id}time`;
    for (const [seconds, words] of TIMES) { const choice = make("option", "", words); choice.value = seconds; times.append(choice); }
    const timesLabel = make("label", "", "For how long");
    timesLabel.htmlFor = times.id;
    const apply = make("button", "", "Set"), anyway = make("button", "", "Set it off anyway"), back = make("button", "", "As configured");
    anyway.type = back.type = "button";
    wrong.setAttribute("role", "alert");
    const form = make("form", "set", group, make("div", "pair", weightBox, priorityBox), make("div", "", timesLabel, times),
      make("div", "both", apply, anyway, back), wrong);
    const whose = make("span", "unseen"), node = make("details", "", make("summary", "", summary, " ", whose), form);
    const entry = { node, form, whose, modes, weight, priority, times, wrong, anyway, back, uplink: null, shown: "" };
    const run = async (steps) => {
      put(wrong, "");
      show(anyway, false);
      apply.disabled = back.disabled = true;
      try { await perform(steps); node.open = false; } catch (error) {
        put(wrong, error.message.split("; if you mean it")[0]);
        show(anyway, /last uplink/.test(error.message));
      }
      apply.disabled = back.disabled = false;
    };
    const wanted = (yes) => {
      const uplink = entry.uplink, mode = row.querySelector(":checked"), for_s = times.value ? { for_s: Number(times.value) } : {};
      const steps = [], again = (what) => times.value && uplink.set && uplink.set[what]; // for another time
      if (mode && (mode.value !== uplink.mode || again("mode"))) steps.push(["mode", mode.value, yes ? { yes } : {}]);
      if (Number(weight.value) !== uplink.weight || again("weight")) steps.push(["weight", Number(weight.value), {}]);
      if (Number(priority.value) !== (uplink.priority || 0) || again("priority")) steps.push(["priority", Number(priority.value), {}]);
      return steps.map(([what, value, more]) => ["set", { uplink: uplink.name, what, value, ...for_s, ...more }]);
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const steps = wanted(false);
      if (steps.length) run(steps); else put(wrong, "Nothing is changed.");
    });
    anyway.addEventListener("click", () => run(wanted(true)));
    back.addEventListener("click", () => run([["unset", { uplink: entry.uplink.name }]]));
    show(anyway, false);
    return entry;
  };
  const tellSetter = (entry, uplink) => {
    entry.uplink = uplink;
    put(entry.whose, uplink.name);
    show(entry.node, state.control);
    show(entry.back, uplink.set);
    const now = `${uplink.mode} ${uplink.weight} ${uplink.priority}`;
    if (entry.shown !== now || !entry.node.open) { // what somebody types is not overwritten
      entry.shown = now;
      entry.modes[uplink.mode || "normal"].checked = true;
      if (!entry.node.open) { entry.weight.value = uplink.weight; entry.priority.value = uplink.priority || 0; entry.times.value = ""; }
    }
  };
  const mine = (set) => all(set).map(([what, [value, by, until]]) =>
    `${what === "mode" ? value : `${what} ${value}`}, set by ${by}${until ? `, ${long(until - now())} left` : ""}`).join(" · ");
  const RANK = { bad: 0, warn: 1, none: 2, good: 3 };
  const worst = (items, judge) => items.sort(([a, x], [b, y]) =>
    RANK[judge(x)] - RANK[judge(y)] || a.localeCompare(b, undefined, { numeric: true }));

  const linkLevel = (link) => link.idle ? "none" : link.state !== "up" ? "bad" : link.reason || link.loss >= 5 ? "warn" : "good";
  const tellLink = (entry, link, key) => {
    put(entry.name, key);
    put(entry.word, link.idle ? "not used" : link.state);
    level(entry.node, linkLevel(link));
    const silent = link.silent ? `no answer for ${since(link.silent)}` : "";
    const reason = silent && /^silent/.test(link.reason || "") ? "" : link.reason; // an age that stands still
    put(entry.why, [reason, silent].filter(Boolean).join("; "));
    show(entry.why, entry.why.textContent);
    entry.plots[0].tell(link.kbps || 0, rate(link.kbps || 0));
    entry.plots[1].tell(link.state === "up" ? link.rtt : undefined, ms(link.state === "up" ? link.rtt : undefined));
    entry.plots[2].tell(link.loss, percent(link.loss));
    const cap = link.cap === undefined ? "capacity not known" : `capacity ${link.sure ? "" : "about "}${rate(link.cap).join(" ")}`;
    put(entry.more, [cap, link.queued > 0 ? `${link.queued} ms wait in it` : "", link.metered ? "metered" : ""].filter(Boolean).join(" · "));
  };

  const figure = (title) => {
    const value = make("span"), small = make("small");
    const node = make("div", "", make("dt", "", title), make("dd", "", value, " ", small));
    return { node, tell(words) { put(value, words[0]); put(small, words[1]); show(node, words[0] !== "–"); } };
  };
  const newSender = () => {
    const title = make("h2"), why = make("p", "why"), sent = figure("sent"), cap = figure("capacity"), advised = figure("advised");
    const also = make("p", "quiet also"), used = make("i"), edge = make("b"), links = make("ul", "cards");
    const bar = make("div", "bar", used, edge);
    bar.setAttribute("aria-hidden", "true");
    const node = make("section", "stream", title, why,
      make("dl", "sum", ...[sent, cap, advised].map((one) => one.node)), bar, also, links);
    return { node, title, why, sent, cap, advised, also, bar, used, edge, links };
  };
  const tellSender = (entry, sender, key) => {
    put(entry.title, sender.stream ? `Stream ${sender.stream} to ${sender.receiver || ""}` : `Stream to ${sender.receiver || key}`);
    put(entry.why, [sender.state === "connected" ? "" : sender.state, sender.reason].filter(Boolean).join(": "));
    show(entry.why, entry.why.textContent);
    entry.sent.tell(rate(sender.kbps || 0));
    const [known, unit] = rate(sender.cap); // full links alone show what they carry, so more may be advised
    entry.cap.tell([sender.advised > sender.cap ? `>${known}` : known, unit]);
    entry.advised.tell(rate(sender.advised));
    put(entry.also, [sender.queued ? `${sender.queued} ms wait for the links` : "",
      sender.lost ? `${sender.lost} % of the stream lost in the last 10 s` : ""].filter(Boolean).join(" · "));
    const full = Math.max(sender.cap || 0, sender.kbps || 0, sender.advised || 0);
    show(entry.bar, sender.cap !== undefined && full > 0);
    entry.used.style.width = full ? `${100 * Math.min(1, (sender.kbps || 0) / full)}%` : "0";
    entry.edge.style.left = full ? `${Math.min(99, 100 * (sender.advised || 0) / full)}%` : "0";
    show(entry.edge, sender.advised);
    list(entry.links, worst(all(sender.links), linkLevel), () => card([["Rate"], ["Round trip"], ["Loss", "loss"]]), tellLink);
  };
  const newReceiver = () => {
    const title = make("h2"), why = make("p", "why"), streams = make("ul", "cards"), more = make("p", "quiet");
    return { node: make("section", "stream", title, why, streams, more), title, why, streams, more };
  };
  const streamLevel = (stream) => stream.live ? (stream.loss >= 5 ? "warn" : "good") : "none";
  const tellReceiver = (entry, receiver, key) => {
    put(entry.title, `Receiver at ${key}`);
    put(entry.why, [receiver.state === "running" ? "" : receiver.state, receiver.reason,
      receiver.state === "running" && !all(receiver.streams).length ? "no stream at present" : ""].filter(Boolean).join(": "));
    show(entry.why, entry.why.textContent);
    list(entry.streams, worst(all(receiver.streams), streamLevel), () => card([["Rate"], ["Round trip"], ["Loss", "loss"]]),
      (one, stream, id) => {
        put(one.name, stream.name || `group ${id}`);
        put(one.word, stream.live ? "live" : "no stream");
        level(one.node, streamLevel(stream));
        show(one.why, false);
        one.plots[0].tell(stream.kbps || 0, rate(stream.kbps || 0));
        one.plots[1].tell(stream.rtt, ms(stream.rtt));
        one.plots[2].tell(stream.loss, percent(stream.loss));
        put(one.more, `${stream.links || 0} links${stream.dropped ? ` · ${stream.dropped} packets missing` : ""}`);
      });
    put(entry.more, receiver.more ? `and ${receiver.more} more` : "");
  };

  const uplinkLevel = (uplink) => ({ up: uplink.reason ? "warn" : "good", standby: "none", degraded: "warn", spent: "warn", off: "none" })[uplink.state] || "bad";
  const tellUplink = (entry, uplink) => {
    put(entry.name, uplink.family === 6 ? `${uplink.name} (IPv6)` : uplink.name);
    put(entry.word, uplink.state === "standby" ? "backup, waits" : uplink.state);
    level(entry.node, uplinkLevel(uplink));
    if (!entry.set) {
      entry.set = setter("Change");
      entry.mine = make("p", "mine");
      entry.node.append(entry.set.node);
      entry.node.insertBefore(entry.mine, entry.why);
    }
    put(entry.mine, uplink.set ? mine(uplink.set) : "");
    show(entry.mine, uplink.set);
    tellSetter(entry.set, uplink);
    put(entry.why, uplink.reason || "");
    show(entry.why, uplink.reason && !(uplink.state === "off" && uplink.set));
    entry.plots[0].tell(uplink.rx || 0, rate(uplink.rx || 0));
    entry.plots[1].tell(uplink.tx || 0, rate(uplink.tx || 0));
    put(entry.plots[2].title, uplink.check ? `Answer (${uplink.check})` : "Round trip");
    entry.plots[2].tell(uplink.rtt, ms(uplink.rtt));
    const plan = uplink.plan && `${amount(uplink.plan[0])} of ${amount(uplink.plan[1])} used`;
    put(entry.more, [uplink.modem, plan, uplink.metered && !plan ? "metered" : "", uplink.loss ? `checks lose ${uplink.loss} %` : "",
      uplink.weight > 1 ? `weight ${uplink.weight}` : "", uplink.device, uplink.address,
      uplink.gateway ? `gateway ${uplink.gateway}` : ""].filter(Boolean).join(" · "));
  };

  // --- the whole ------------------------------------------------------------------------------------------

  const WORDS = { broken: "bad", degraded: "warn", notice: "note", error: "bad", warning: "warn", unknown: "note" };
  const line = () => { const text = make("p"), hint = make("p", "quiet"), node = make("li", "", text, hint); return { node, text, hint }; };
  let said = "", saidAt = -1e9;
  const render = () => {
    const known = state.verdict !== undefined;
    if (known) {
      const [head, ...rest] = state.verdict.split("; ");
      put($("verdict"), head);
      // What the problems below say anyway is not said twice.
      const texts = (state.problems || []).map((problem) => problem[1]);
      const more = rest.filter((part) => !texts.some((text) => part.startsWith(text)) && !/^and \d+ more problem/.test(part));
      put($("rest"), more.join("; "));
      show($("rest"), more.length);
      $("top").dataset.code = state.code || 0;
      put($("mark"), "✓!✕?"[state.code || 0]);
      document.title = `${"✓!✕?"[state.code || 0]} ${head}`;
      const words = state.verdict.replace(/\d+([.,]\d+)?/g, "#"); // ages and rates are no news
      if (words !== said && performance.now() - saidAt > 3000) { said = words; saidAt = performance.now(); put($("said"), state.verdict); }
    }
    const problems = (state.problems || []).map((problem) => [`${problem[0]} ${problem[1]}`, problem]);
    const tell = (entry, [severity, text, hint, began]) => {
      level(entry.node, WORDS[severity] || "warn");
      put(entry.text, text);
      put(entry.hint, [`for ${since(began)}`, hint].filter(Boolean).join(" · "));
    };
    for (const [section, target, notes] of [["problems", "problem-list", false], ["notes", "note-list", true]]) {
      const some = problems.filter(([, problem]) => (problem[0] === "notice") === notes);
      show($(section), some.length);
      list($(target), some, line, tell);
    }
    const streams = [...all(state.senders).map(([key, one]) => [`s${key}`, one]), ...all(state.receivers).map(([key, one]) => [`r${key}`, one])];
    show($("streams"), streams.length);
    $("main").className = streams.length ? "" : "alone";
    list($("streams"), streams, (key) => key[0] === "s" ? newSender() : newReceiver(),
      (entry, one, key) => (key[0] === "s" ? tellSender : tellReceiver)(entry, one, key.slice(1)));
    show($("uplinks"), known);
    list($("uplink-list"), worst(all(state.uplinks), uplinkLevel), () => card([["Down"], ["Up"], ["Round trip"]]), tellUplink);
    const away = all(state.away).map(([name, set]) => [`set ${name}`, [name, set]]);
    list($("gone-list"), [...all(state.gone), ...away], (key, [name]) => {
      const entry = line(), back = make("button", "", "As configured");
      back.type = "button";
      back.setAttribute("aria-label", `${name} as configured`);
      back.addEventListener("click", async () => {
        try { await perform([["unset", { uplink: name }]]); } catch (error) { toast(error.message, null); }
      });
      entry.node.append(back);
      return { ...entry, back };
    }, (entry, [name, reason, began]) => {
      put(entry.text, plain(reason) ? `${name} is not there: ${mine(reason)}` : `${name}: ${reason} ${since(began)} ago`);
      show(entry.back, state.control && plain(reason));
    });
    const kept = all(state.events).sort(([a], [b]) => b - a), events = kept.slice(0, earlier ? kept.length : 8);
    show($("events"), events.length);
    show($("all-events"), events.length < kept.length);
    list($("event-list"), events, () => {
      const time = make("time"), text = make("span");
      return { node: make("li", "", time, text), time, text };
    }, (entry, [time, name, text]) => {
      const at = new Date(time * 1000), today = at.toDateString() === new Date().toDateString();
      put(entry.time, today ? at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" })
        : at.toLocaleDateString([], { month: "short", day: "numeric" }));
      if (entry.time.dateTime !== at.toISOString()) entry.time.dateTime = at.toISOString();
      level(entry.node, name);
      put(entry.text, text);
    });
    show($("doctor"), known);
    put($("about"), known ? `netbond ${state.version}, running for ${since(state.started)}` : "");
    paint();
  };
  let painted = 0, earlier = false;
  $("all-events").addEventListener("click", () => { earlier = true; render(); });
  const paint = () => {
    if (document.hidden || (calm.matches && performance.now() - painted < 1000)) return;
    painted = performance.now();
    requestAnimationFrame(() => {
      for (const parent of document.querySelectorAll("ul.cards")) {
        const cards = [...(lists.get(parent) || bare()).values()];
        // One scale for all links: what a link carries is seen beside the others.
        [50, 50, 50].forEach((least, column) => {
          const plots = cards.map((one) => one.plots[column]);
          const top = plots.length && plots[0].bad ? highest(plots, 5) : highest(plots, least);
          for (const one of plots) draw(one, top);
        });
      }
    });
  };

  // --- the connection -------------------------------------------------------------------------------------

  const close = () => { if (source) { source.close(); source = null; } };
  const open = () => {
    close();
    if (!wanted) return;
    opened = performance.now();
    source = new EventSource("live");
    source.onopen = () => { fresh = true; };
    source.onmessage = (message) => {
      const told = JSON.parse(message.data);
      box = told.t;
      heard = performance.now();
      if (fresh) { state = bare(); fresh = false; }
      merge(state, told.p);
      show($("login"), false);
      watch();
      render();
    };
    source.onerror = async () => {
      if (source && source.readyState !== EventSource.CLOSED) return;
      try {
        const answer = await fetch("session", { cache: "no-store" });
        if (answer.status === 401) { wanted = false; close(); show($("login"), true); show($("lost"), false); put($("verdict"), "Log in"); $("token").focus(); }
      } catch { /* not there: tried again */ }
    };
  };
  const watch = () => {
    const away = (performance.now() - heard) / 1000, lost = wanted && away > 2.5;
    const old = lost || state.silent !== undefined;
    put($("lost-text"), lost ? `Not connected for ${Math.floor(away)} s. What you see is old.` : state.silent ? `What you see is old: ${state.silent}.` : "");
    show($("lost"), old);
    document.body.classList.toggle("old", old);
    if (lost && performance.now() - opened > 5000 && !document.hidden) open();
  };
  setInterval(watch, 500);
  let pocket = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(pocket);
    if (document.hidden) pocket = setTimeout(close, 20000); // in a pocket it costs nothing
    else if (!source) open();
  });
  addEventListener("online", open);

  $("login").addEventListener("submit", async (event) => {
    event.preventDefault();
    put($("login-said"), "");
    try {
      const answer = await send("login", { token: $("token").value });
      if (!answer.ok) { put($("login-said"), await answer.text()); return; }
      $("token").value = "";
      show($("login"), false);
      put($("verdict"), "Connecting …");
      wanted = true;
      heard = performance.now();
      open();
    } catch { put($("login-said"), "The box does not answer."); }
  });

  // --- doctor ---------------------------------------------------------------------------------------------

  $("examine").addEventListener("click", async () => {
    const button = $("examine");
    button.disabled = true;
    put($("doctor-said"), "Checking. This takes up to half a minute.");
    try {
      const answer = await send("doctor", {});
      if (!answer.ok) throw new Error(await answer.text());
      const told = await answer.json();
      const order = { error: 0, warning: 1, unknown: 2 };
      const found = told.findings.filter((one) => one.severity in order).sort((a, b) => order[a.severity] - order[b.severity]);
      put($("doctor-said"), told.summary + (told.age_s > 5 ? ` (${long(told.age_s)} ago)` : ""));
      list($("finding-list"), found.map((one, place) => [`${place} ${one.code} ${one.subject}`, one]), () => {
        const text = make("p"), seen = make("p", "more"), mend = make("code");
        return { node: make("li", "", text, seen, mend), text, seen, mend };
      }, (entry, one) => {
        level(entry.node, WORDS[one.severity]);
        put(entry.text, one.subject && !one.verdict.includes(one.subject) ? `${one.subject}: ${one.verdict}` : one.verdict);
        put(entry.seen, one.evidence ? `seen: ${one.evidence}` : "");
        put(entry.mend, one.mend || "");
        show(entry.mend, one.mend);
      });
    } catch (error) {
      put($("doctor-said"), error instanceof TypeError ? "The box does not answer." : error.message);
    }
    button.disabled = false;
  });

  open();
})();
