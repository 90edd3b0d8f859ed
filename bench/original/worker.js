import { identify, Group, Replica } from 'dog';

// The original broadcasts strings only, and they leave as text. The bench's messages are bytes: here a character stands for each
// byte, and a string leaves as the bytes it stands for, made once for all the sockets it goes to.
const send = WebSocket.prototype.send;
let last, bytes;
WebSocket.prototype.send = function (text) {
	if (text !== last) {
		last = text;
		bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
	}
	send.call(this, bytes);
};

export class Lobby extends Group {
	constructor(state, env) {
		super(state, env);
		this.limit = env.LIMIT;
	}

	link(env) {
		return { child: env.ROOM, self: env.LOBBY };
	}
}

export class Room extends Replica {
	link(env) {
		return { parent: env.LOBBY, self: env.ROOM };
	}

	receive(req) {
		return this.connect(req);
	}

	onmessage(socket, data) {
		const text = String.fromCharCode(...new Uint8Array(data));
		if (text[0] === 'b') return socket.broadcast(text, true);
		socket.send(text);
	}
}

export default {
	async fetch(req, env) {
		const uid = new URL(req.url).searchParams.get('uid');
		const replica = await identify(env.LOBBY.idFromName('hall'), uid, { parent: env.LOBBY, child: env.ROOM });
		return replica.fetch(req);
	},
};
