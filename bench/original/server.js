// Serves the original DOG on workerd, under the contract of the README.
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { Log, LogLevel, Miniflare } from 'miniflare';

const { values: flags } = parseArgs({ options: { check: { type: 'boolean' }, limit: { type: 'string', default: '500' } } });
const host = '127.0.0.1';
const file = (path) => readFileSync(new URL(path, import.meta.url), 'utf8');

if (flags.check) {
	const version = (name) => `${name} ${JSON.parse(file(`node_modules/${name}/package.json`)).version}`;
	console.log(`npm ${version('dog')}, ${version('miniflare')}, ${version('workerd')}, Node ${process.versions.node}`);
	process.exit();
}

const miniflare = new Miniflare({
	name: 'chat',
	log: new Log(LogLevel.ERROR),
	compatibilityDate: '2026-01-01', // with newer ones a binary message is a Blob, read asynchronously
	modules: [
		{ type: 'ESModule', path: 'worker.js', contents: file('worker.js') },
		{ type: 'ESModule', path: 'dog', contents: file('node_modules/dog/index.js') },
	],
	modulesRoot: '.',
	durableObjects: { LOBBY: 'Lobby', ROOM: 'Room' },
	bindings: { LIMIT: Number(flags.limit) },
	unsafeDirectSockets: [{ host, port: 0 }], // straight to the worker, not through miniflare's own
});
await miniflare.ready;
const addr = (await miniflare.unsafeGetDirectURL('chat')).host;

// The processes that serve: this one, and workerd below it.
function* processes(pid = process.pid) {
	yield pid;
	for (const thread of readdirSync(`/proc/${pid}/task`)) {
		const children = readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8');
		for (const child of children.split(' ').filter(Boolean)) yield* processes(Number(child));
	}
}
const serving = [...processes()];
const tick = 10_000; // µs of Linux's unit of CPU time

function cpu(pid) {
	const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
	const [user, system] = stat.slice(stat.lastIndexOf(')') + 2).split(' ').slice(11, 13); // fields 14 and 15
	return (Number(user) + Number(system)) * tick;
}

const memory = (pid) => Number(/VmRSS:\s*(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

// The kernel's count of established connections to the endpoint.
function sockets() {
	const [ip, port] = addr.split(':');
	const hex = (n, digits) => Number(n).toString(16).toUpperCase().padStart(digits, '0');
	const local = ip.split('.').reverse().map((n) => hex(n, 2)).join('') + ':' + hex(port, 4);
	return readFileSync('/proc/net/tcp', 'utf8').split('\n').filter((line) => {
		const [, from, , state] = line.trim().split(/\s+/);
		return from === local && state === '01';
	}).length;
}

const sum = (f) => serving.reduce((total, pid) => total + f(pid), 0);
const stat = createServer((_, res) => {
	res.end(JSON.stringify({ cpu_us: sum(cpu), rss_kib: sum(memory), sockets: sockets(), goroutines: 0 }));
});
stat.listen(0, host, () => {
	console.log(JSON.stringify({ addr, stat: `${host}:${stat.address().port}`, proto: 'plain' }));
});

process.stdin.resume().on('end', async () => {
	await miniflare.dispose();
	process.exit();
});
