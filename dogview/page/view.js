// The page of package dogview. It makes elements and their texts, never markup,
// so a name is never taken for markup.
"use strict";

const main = document.querySelector("#main");
const state = document.querySelector("#state");
const problem = document.querySelector("#problem");

// el makes an element. An attribute that is a function listens to an event.
function el(tag, attributes, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes ?? {})) {
		if (typeof value === "function") e.addEventListener(name, value);
		else e.setAttribute(name, value);
	}
	e.append(...children);
	return e;
}

// setText changes a text only if it differs, which keeps what is selected.
function setText(e, text) {
	if (e.textContent !== text) e.textContent = text;
}

const numbers = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const count = (n) => numbers.format(n);

function unit(n, names, step) {
	let i = 0;
	for (; n >= step && i < names.length - 1; i++) n /= step;
	return count(n) + " " + names[i];
}

const bytes = (n) => unit(n, ["B", "KiB", "MiB", "GiB", "TiB"], 1024);

function duration(ns) {
	if (ns < 60e9) return unit(ns, ["ns", "µs", "ms", "s"], 1000);
	return ns > 9e18 ? "over an hour" : count(ns / 60e9) + " min";
}

// time returns a time without its fraction, and "" for none.
const time = (text) => (text.startsWith("0001-") ? "" : text.replace("T", " ").replace(/\.\d+/, ""));
const sum = (map, f) => Object.values(map ?? {}).reduce((n, v) => n + f(v), 0);

// ask gets JSON. An answer that is an error is thrown.
async function ask(route, query, order) {
	const options = order && {
		method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(order),
	};
	const response = await fetch("api/" + route + "?" + new URLSearchParams(query), options);
	const answer = await response.json().catch(() => ({ Error: response.status + " " + response.statusText }));
	if (!response.ok) throw new Error(answer.Error);
	return answer;
}

// table makes a table of items. Rows and their buttons stay as they are when it
// is updated, so they keep the focus. A column has a text, or makes a node once
// for each row and may then refresh it.
function table(caption, columns, key) {
	const body = el("tbody");
	const rows = new Map();
	const head = columns.map((c) => el("th", { scope: "col", class: c.number ? "number" : "" }, c.name));
	const empty = el("p", { class: "quiet", hidden: "" }, "none");
	const element = el("div", {},
		el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, ...head)), body), empty);
	const update = (items) => {
		const seen = new Set();
		items.forEach((item, i) => {
			const id = key(item, i);
			seen.add(id);
			let row = rows.get(id);
			if (!row) {
				const cells = columns.map((c) => el("td", { "data-label": c.name, class: c.class ?? (c.number ? "number" : "") }));
				row = { tr: el("tr", {}, ...cells), cells };
				row.nodes = columns.map((c, n) => c.make && row.cells[n].appendChild(c.make(item)));
				rows.set(id, row);
			}
			columns.forEach((c, n) => {
				if (c.text) setText(row.cells[n], c.text(item));
				else c.refresh?.(row.nodes[n], item);
			});
			if (body.children[i] !== row.tr) body.insertBefore(row.tr, body.children[i] ?? null);
		});
		for (const [id, row] of rows) if (!seen.has(id)) { row.tr.remove(); rows.delete(id); }
		empty.hidden = items.length > 0;
	};
	return { element, update };
}

// action makes a button that has to be pressed twice.
function action(text, about, run) {
	let timer = 0;
	const button = el("button", { type: "button", click: async () => {
		if (!timer) {
			timer = setTimeout(calm, 5000);
			setText(button, "really " + text + "?");
			button.classList.add("sure");
			return;
		}
		calm();
		try {
			await run();
			problem.textContent = "";
			setText(button, text + ": done");
		} catch (error) {
			problem.textContent = text + ": " + error.message;
		}
		shown.refresh?.();
	} }, text);
	if (about) button.setAttribute("aria-description", about);
	const calm = () => {
		clearTimeout(timer);
		timer = 0;
		setText(button, text);
		button.classList.remove("sure");
	};
	return button;
}

// facts makes a list of names with texts, which update sets.
function facts(names) {
	const values = names.map(() => el("dd"));
	const element = el("dl", {}, ...names.map((name, i) => el("div", {}, el("dt", {}, name), values[i])));
	return { element, update: (texts) => texts.forEach((text, i) => setText(values[i], text)) };
}

const link = (view, query, text) => el("a", { href: "#" + view + "?" + new URLSearchParams(query) }, text);
const nameOf = (o) => o.Name || o.ID.slice(0, 12) + "…";
const objectLink = (o) => link("object", { type: o.Namespace, id: o.ID }, nameOf(o));

// What the stream has brought: the last two snapshots, and events a second of
// ten minutes.
let last, before;
const rates = [];
const seconds = () => (Date.parse(last.At) - Date.parse(before.At)) / 1000;
const events = (t) => sum(t.Events, (e) => e.Done);
const errors = (t) => sum(t.Events, (e) => e.Failed);

// rate returns what a count of a type has grown by in a second.
function rate(t, f) {
	const earlier = before?.Types.find((o) => o.Name === t.Name);
	return earlier && seconds() > 0 ? Math.max(0, f(t) - f(earlier)) / seconds() : 0;
}

function overview() {
	const top = facts([
		"sockets", "objects", "awake", "events a second", "errors a second", "held back", "not yet durable", "disk",
		"memory of the store", "store",
	]);
	const curve = document.querySelector("#curve").content.firstElementChild.cloneNode(true);
	const line = curve.querySelector("polyline");
	const legend = el("figcaption", { class: "quiet" });
	const number = (name, text) => ({ name, text, number: true });
	const p95 = (d) => (d.Count ? duration(d.P95) : "");
	const types = table("Types; waits, runs and syncs are p95 of the last minute", [
		{ name: "type", make: (t) => link(t.Kind === "Group" ? "groups" : "objects", { type: t.Name }, t.Name) },
		{ name: "kind", text: (t) => t.Kind },
		number("objects", (t) => count(t.Objects)), number("awake", (t) => count(t.Awake)),
		number("sockets", (t) => count(t.Sockets)),
		number("events/s", (t) => count(rate(t, events))), number("errors/s", (t) => count(rate(t, errors))),
		number("wait", (t) => p95(t.Wait)), number("run", (t) => p95(t.Run)), number("durable", (t) => p95(t.Durable)),
		number("refused", (t) => count(sum(t.Refused, (n) => n))), number("resets", (t) => count(t.Resets)),
		number("alarms failed", (t) => count(t.Alarms.Failed)),
		number("overdue", (t) => (t.Alarms.Overdue ? duration(t.Alarms.Overdue) : "")),
	], (t) => t.Name);
	const live = () => {
		const total = (f) => last.Types.reduce((n, t) => n + f(t), 0);
		top.update([
			count(total((t) => t.Sockets)), count(total((t) => t.Objects)), count(total((t) => t.Awake)),
			count(rates.at(-1) ?? 0), count(total((t) => rate(t, errors))), bytes(last.HeldBytes),
			bytes(last.Store.Unsynced), bytes(last.Store.Disk), bytes(last.Store.Memory), last.Store.Err || "well",
		]);
		const most = Math.max(1, ...rates);
		curve.setAttribute("viewBox", `0 0 ${Math.max(60, rates.length)} 100`);
		line.setAttribute("points", rates.map((n, i) => `${i},${99 - (98 * n) / most}`).join(" "));
		setText(legend, `Events a second, at most ${count(most)} in the last ten minutes`);
		types.update(last.Types);
	};
	return { title: "Overview", content: [top.element, el("figure", {}, legend, curve), types.element], live };
}

// choice makes a form that selects a type, and more.
function choice(view, query, of, ...more) {
	const select = el("select", { name: "type", id: "type" },
		...last.Types.filter(of).map((t) => el("option", { value: t.Name }, t.Name)));
	if (query.type) select.value = query.type;
	const form = el("form", { submit: (event) => {
		event.preventDefault();
		location.hash = view + "?" + new URLSearchParams(new FormData(form));
	} }, el("div", {}, el("label", { for: "type" }, "type"), select), ...more, el("button", {}, "show"));
	return { form, type: select.value };
}

// pages makes a list of which a button gets more, up to what was shown before
// at each refresh.
function pages(view, get) {
	let wanted = 1;
	const more = el("button", { type: "button", hidden: "", click: () => { wanted++; refresh(); } }, "more");
	const refresh = async () => {
		const items = [];
		let after = "", got = 0;
		do {
			const page = await get(after);
			items.push(...page.Items);
			after = page.Next;
		} while (after && ++got < wanted);
		more.hidden = !after;
		view.update(items);
	};
	return { content: [view.element, el("p", {}, more)], refresh };
}

function groups(query) {
	const { form, type } = choice("groups", query, (t) => t.Kind === "Group");
	if (!type) return { title: "Groups", content: [el("p", {}, "No type of groups is registered.")] };
	const list = pages(table("Groups in memory or in the store", [
		{ name: "group", make: (g) => link("group", { type: g.Namespace, id: g.ID, name: g.Name }, nameOf(g)) },
		{ name: "load", make: () => el("meter", { "aria-label": "load" }), refresh: (m, g) => {
			m.max = Math.max(1, g.Limit * g.Replicas);
			m.value = g.Load;
		} },
		{ name: "places taken", number: true, text: (g) => count(g.Load) },
		{ name: "replicas", number: true, text: (g) => count(g.Replicas) },
		{ name: "draining", number: true, text: (g) => count(g.Draining) },
		{ name: "sockets", number: true, text: (g) => count(g.Sockets) },
		{ name: "uids", number: true, text: (g) => count(g.UIDs) },
		{ name: "in memory", text: (g) => (g.Live ? "yes" : "no") },
	], (g) => g.ID), (after) => ask("groups", { type, after }));
	return { title: "Groups", content: [form, ...list.content], refresh: list.refresh };
}

function group(query) {
	const { type, id } = query;
	const heading = el("p");
	const order = (more) => ask("drain", {}, { Type: type, ID: id, ...more });
	const replicas = table("The replicas with the most load", [
		{ name: "replica", make: objectLink },
		{ name: "load", make: () => el("meter", { "aria-label": "load" }), refresh: (m, r) => {
			m.max = Math.max(1, r.Limit);
			m.value = r.Load;
		} },
		{ name: "places taken", number: true, text: (r) => `${count(r.Load)} of ${count(r.Limit)}` },
		{ name: "sockets", number: true, text: (r) => count(r.Sockets) },
		{ name: "queued", number: true, text: (r) => bytes(r.QueuedBytes) },
		{ name: "state", text: (r) => [r.Draining && "draining", r.Locked && "locked"].filter(Boolean).join(", ") },
		{ name: "action", make: (r) => action("drain", "replica " + nameOf(r), () => order({ Replica: r.ID })),
			refresh: (b, r) => { b.hidden = r.Draining; } },
	], (r) => r.ID);
	const refresh = async () => {
		const g = await ask("group", { type, id });
		setText(heading, `${count(g.UIDs)} uids, ${count(g.Members)} members, ${count(g.Lingering)} away for a moment`);
		replicas.update(g.Replicas ?? []);
	};
	return {
		title: "Group " + (query.name || id), refresh,
		content: [
			heading,
			el("p", {}, action("drain all", "all replicas", () => order({})), " ", link("object", query, "what it stores")),
			replicas.element,
		],
	};
}

function objects(query) {
	const prefix = el("input", { name: "prefix", id: "prefix", value: query.prefix ?? "" });
	const { form, type } = choice("objects", query, () => true,
		el("div", {}, el("label", { for: "prefix" }, "name begins with"), prefix));
	if (!type) return { title: "Objects", content: [el("p", {}, "No type is registered.")] };
	const list = pages(table("Objects in memory or in the store", [
		{ name: "object", make: objectLink },
		{ name: "in memory", text: (o) => (o.Live ? "yes" : "no") },
		{ name: "stored", text: (o) => (o.Stored ? "yes" : "no") },
	], (o) => o.ID), (after) => ask("objects", { type, prefix: query.prefix ?? "", after }));
	return { title: "Objects", content: [form, ...list.content], refresh: list.refresh };
}

function slow() {
	const sockets = table("Sockets that have the most to send", [
		{ name: "object", make: (s) => objectLink(s.Object) },
		{ name: "type", text: (s) => s.Object.Namespace },
		{ name: "uid", text: (s) => s.UID },
		{ name: "queued", number: true, text: (s) => bytes(s.QueuedBytes) },
		{ name: "behind the history", text: (s) => (s.Behind ? "yes" : "no") },
	], (s) => s.ID);
	const refresh = async () => sockets.update((await ask("slow", {})).Items);
	return { title: "Slow sockets", content: [sockets.element], refresh };
}

const again = (object, alarm) => action("run again", "alarm " + alarm, () =>
	ask("again", {}, { Type: object.Namespace, ID: object.ID, Alarm: alarm }));

// failed looks through the types one after the other, and then for more of
// them, each time as far as the server looks at a time.
function failed() {
	const next = new Map(last.Types.map((t) => [t.Name, ""]));
	const found = new Map();
	const alarms = table("Alarms that do not run again by themselves", [
		{ name: "object", make: (a) => objectLink(a.Object) },
		{ name: "type", text: (a) => a.Object.Namespace },
		{ name: "alarm", text: (a) => (a.Name === undefined ? "" : a.Name || "without a name") },
		{ name: "was due", text: (a) => time(a.At) },
		{ name: "error", text: (a) => a.Err },
		{ name: "action", make: (a) => again(a.Object, a.Name), refresh: (b, a) => { b.hidden = a.Name === undefined; } },
	], (a, i) => a.Object.ID + "\n" + (a.Name ?? i));
	const more = el("button", { type: "button", hidden: "", click: () => look() }, "look further");
	const look = async () => {
		for (const [type, after] of [...next]) {
			const page = await ask("failed", { type, after });
			found.set(type, [...(after ? found.get(type) ?? [] : []), ...page.Items]);
			if (page.Next) next.set(type, page.Next);
			else next.delete(type);
		}
		more.hidden = next.size === 0;
		alarms.update([...found.values()].flat());
	};
	const refresh = () => {
		last.Types.forEach((t) => next.set(t.Name, ""));
		return look();
	};
	return { title: "Failed alarms", content: [alarms.element, el("p", {}, more)], refresh, once: true };
}

const shownText = (v) => (v.Kind === "null" ? "NULL" : v.Text) + (v.Cut ? "…" : "");
const kindOf = (v) => [v.Kind === "hex" && "hex", v.Cut && bytes(v.Bytes)].filter(Boolean).join(", ");
const shownKind = { name: "size", text: (e) => kindOf(e.Value) || bytes(e.Value.Bytes) };

// section makes a part of an object that is read when somebody opens it.
function section(title, open) {
	const content = el("div");
	const button = el("button", { type: "button", "aria-expanded": "false", click: async () => {
		if (content.hasChildNodes()) {
			content.replaceChildren();
			button.setAttribute("aria-expanded", "false");
			return;
		}
		button.setAttribute("aria-expanded", "true");
		try {
			await open(content);
			problem.textContent = "";
		} catch (error) {
			content.replaceChildren(el("p", { class: "bad" }, error.message));
		}
	} }, title);
	return el("section", {}, el("h3", {}, button), content);
}

// fill shows a list in an element.
async function fill(content, list, ...before) {
	await list.refresh();
	content.replaceChildren(...before, ...list.content);
}

function keys(query) {
	return section("Keys", (content) => {
		const prefix = el("input", { id: "keys" });
		const read = () => fill(content, pages(table("Keys in their order", [
			{ name: "key", class: "value", text: (e) => shownText(e.Key) },
			{ name: "value", class: "value", text: (e) => shownText(e.Value) }, shownKind,
		], (e, i) => i), (after) => ask("keys", { ...query, prefix: prefix.value, after })), form);
		const form = el("form", { submit: (event) => {
			event.preventDefault();
			read().catch((error) => { problem.textContent = error.message; });
		} }, el("div", {}, el("label", { for: "keys" }, "keys that begin with"), prefix), el("button", {}, "show"));
		return read();
	});
}

function alarms(query, object) {
	return section("Alarms", (content) => fill(content, pages(table("The first alarms", [
		{ name: "alarm", text: (a) => a.Name || "without a name" },
		{ name: "set for", text: (a) => time(a.At) },
		{ name: "runs next", text: (a) => (a.Failed ? "has failed" : time(a.Next)) },
		{ name: "payload", class: "value", text: (a) => shownText(a.Payload) },
		{ name: "error", text: (a) => a.Err },
		{ name: "action", make: (a) => again(object, a.Name), refresh: (b, a) => { b.hidden = !a.Failed; } },
	], (a) => a.Name), () => ask("alarms", query))));
}

function tables(query) {
	return section("Tables", async (content) => {
		const rows = el("div");
		const { Items } = await ask("tables", query);
		const open = async (t) => {
			const first = await ask("rows", { ...query, table: t.Name });
			const columns = first.Columns.map((name, i) => ({ name, class: "value", text: (row) => shownText(row[i]) }));
			await fill(rows, pages(table(t.Type + " " + t.Name, columns, (row, i) => i),
				(after) => ask("rows", { ...query, table: t.Name, after })));
		};
		content.replaceChildren(el("p", {}, ...Items.flatMap((t) => [el("button", { type: "button", click: () =>
			open(t).catch((error) => { problem.textContent = error.message; }) }, t.Name), " "]),
		Items.length ? "" : "none"), rows);
	});
}

function commands(query, title, caption, of) {
	return section(title, (content) => fill(content, pages(table(caption, [
		{ name: "number", number: true, text: (c) => String(c.Number) },
		{ name: "command", class: "value", text: (c) => shownText(c.Body) },
		{ name: "key", text: (c) => c.Key }, { name: "replaces", text: (c) => c.Replace },
		{ name: "expires", text: (c) => time(c.Expires) },
		{ name: "deliveries", number: true, text: (c) => count(c.Deliveries) },
	], (c) => c.Number), (after) => ask("outbox", { ...query, of, after }))));
}

function object(query) {
	const { type, id } = query;
	const known = facts(["type", "kind", "in memory", "stored", "sockets", "members"]);
	const number = el("p", { class: "quiet value" }, "ID " + id);
	const reset = action("reset", "the object", () => ask("reset", {}, { Type: type, ID: id }));
	const title = el("span", {}, "Object");
	const refresh = async () => {
		const o = await ask("object", query);
		setText(title, "Object " + nameOf(o));
		known.update([
			o.Namespace, o.Kind, o.Hibernated ? "its sockets" : o.Live ? "yes" : "no", o.Stored ? "yes" : "no",
			count(o.Sockets), count(o.Members),
		]);
		reset.hidden = !o.Live;
		queue.forEach((part) => { part.hidden = !o.Outbox; });
	};
	const about = { Namespace: type, ID: id };
	const queue = [
		commands(query, "Commands that wait", "Commands in the order in which the device gets them", "waiting"),
		commands(query, "Dead letters", "Commands that were given up", "dead"),
	];
	queue.forEach((part) => { part.hidden = true; });
	return {
		title, refresh,
		content: [
			known.element, number, el("p", {}, reset), keys(query), alarms(query, about), tables(query), ...queue,
		],
	};
}

const views = { overview, groups, group, objects, slow, failed, object };

// What is shown now, and the run of its refreshes.
let shown = {};
let turn = 0;

async function refresh() {
	const mine = ++turn;
	const view = shown;
	if (!view.refresh) return;
	try {
		await view.refresh();
		if (view === shown) problem.textContent = "";
	} catch (error) {
		if (view === shown) problem.textContent = error.message;
	}
	if (view.once) return;
	setTimeout(() => { if (mine === turn && view === shown && !document.hidden) refresh(); }, 5000);
}

// show shows the view that the address names.
function show(focus) {
	const [name, query] = location.hash.slice(1).split("?");
	const view = Object.hasOwn(views, name) ? name : "overview";
	for (const a of document.querySelectorAll("nav a")) {
		if (a.hash === "#" + view) a.setAttribute("aria-current", "page");
		else a.removeAttribute("aria-current");
	}
	problem.textContent = "";
	shown = views[view](Object.fromEntries(new URLSearchParams(query)));
	main.replaceChildren(el("h2", {}, shown.title), ...shown.content);
	shown.live?.();
	if (focus) {
		main.focus({ preventScroll: true });
		scrollTo(0, 0);
	}
	refresh();
}

// The stream of snapshots. A page that is hidden has none.
let stream;

function connect() {
	stream?.close();
	stream = undefined;
	if (document.hidden) return;
	stream = new EventSource("api/live");
	const mine = stream;
	stream.onmessage = ({ data }) => {
		const first = !last;
		before = last;
		last = JSON.parse(data);
		if (before) rates.push(last.Types.reduce((n, t) => n + rate(t, events), 0));
		if (rates.length > 600) rates.shift();
		setText(state, "live");
		state.className = "";
		if (first) show(false);
		else shown.live?.();
	};
	stream.onerror = () => {
		setText(state, "no connection");
		state.className = "off";
		if (mine.readyState === EventSource.CLOSED) setTimeout(() => { if (mine === stream) connect(); }, 5000);
	};
}

addEventListener("hashchange", () => { if (last) show(true); });
document.addEventListener("visibilitychange", () => {
	connect();
	if (!document.hidden) refresh();
});
connect();
