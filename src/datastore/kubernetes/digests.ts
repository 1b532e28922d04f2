import { randomBytes } from 'node:crypto';

/**
 * A number of 48 bits for each key, without an object for any: keys and numbers lie in one buffer, found by an open hash
 * table of offsets into it. For 100,000 keys that is 4 MB outside of what the garbage collector looks at, where a Map of
 * strings is 18 MB within.
 */
export type Digests = {
	readonly get: (key: string) => number | undefined;
	readonly set: (key: string, digest: number) => void;
	readonly delete: (key: string) => boolean;
	readonly keys: () => IterableIterator<string>;
	readonly size: () => number;
};

/** Of an entry: 6 bytes of number, 4 of length, then the key in UTF-8. */
const headBytes = 10;
const empty = 0;
const deleted = 1;
/** Entries begin behind what a slot says of itself. */
const firstEntry = 2;

export const createDigests = (): Digests => {
	/** So that nobody can choose keys that share a place. */
	const seed = randomBytes(4).readUInt32LE();
	let entries = Buffer.alloc(4096);
	let end = firstEntry;
	/** Offsets of entries, `empty` or `deleted`; a power of two of them, at most three quarters in use. */
	let slots = new Uint32Array(256);
	let used = 0;
	let size = 0;
	/** The key asked about. */
	let asked = Buffer.alloc(1024);
	let length = 0;

	const hashOf = (bytes: Buffer, from: number, to: number): number => {
		let hash = seed;
		for (let i = from; i < to; i++) {
			hash = Math.imul(hash ^ (bytes[i] as number), 0x5bd1e995);
			hash ^= hash >>> 15;
		}
		return hash >>> 0;
	};
	const keyEnd = (entry: number): number => entry + headBytes + entries.readUInt32LE(entry + 6);
	const isAsked = (entry: number): boolean => {
		if (entries.readUInt32LE(entry + 6) !== length) return false;
		for (let i = 0; i < length; i++) if (entries[entry + headBytes + i] !== asked[i]) return false;
		return true;
	};
	/** The slot of the key, or the one to put it into. */
	const slotOf = (key: string): number => {
		if (key.length * 3 > asked.length) asked = Buffer.alloc(key.length * 3);
		length = asked.write(key);
		let free = -1;
		for (let slot = hashOf(asked, 0, length) & (slots.length - 1); ; slot = (slot + 1) & (slots.length - 1)) {
			const entry = slots[slot] as number;
			if (entry === empty) return free < 0 ? slot : free;
			if (entry === deleted) free = free < 0 ? slot : free;
			else if (isAsked(entry)) return slot;
		}
	};

	/** Makes room for more, and leaves out what was deleted. */
	const rebuild = (): void => {
		let bytes = firstEntry;
		for (const entry of slots) if (entry >= firstEntry) bytes += keyEnd(entry) - entry;
		const old = { entries, slots };
		let room = 256;
		while (room < size * 2) room *= 2;
		const packed = Buffer.alloc(Math.max(4096, bytes + (bytes >>> 1)));
		const places = new Uint32Array(room);
		end = firstEntry;
		for (const entry of old.slots) {
			if (entry < firstEntry) continue;
			const behind = keyEnd(entry);
			let slot = hashOf(old.entries, entry + headBytes, behind) & (room - 1);
			while (places[slot] !== empty) slot = (slot + 1) & (room - 1);
			places[slot] = end;
			old.entries.copy(packed, end, entry, behind);
			end += behind - entry;
		}
		entries = packed;
		slots = places;
		used = size;
	};

	return {
		get: (key) => {
			const entry = slots[slotOf(key)] as number;
			return entry < firstEntry ? undefined : entries.readUIntLE(entry, 6);
		},
		set: (key, digest) => {
			let slot = slotOf(key);
			if ((slots[slot] as number) < firstEntry) {
				if (used * 4 >= slots.length * 3 || end + headBytes + length > entries.length) {
					rebuild();
					slot = slotOf(key);
				}
				if (end + headBytes + length > entries.length) {
					entries = Buffer.concat([entries], end + headBytes + length + (end >>> 1));
				}
				if (slots[slot] === empty) used++;
				size++;
				slots[slot] = end;
				entries.writeUInt32LE(length, end + 6);
				asked.copy(entries, end + headBytes, 0, length);
				end += headBytes + length;
			}
			entries.writeUIntLE(digest, slots[slot] as number, 6);
		},
		delete: (key) => {
			const slot = slotOf(key);
			if ((slots[slot] as number) < firstEntry) return false;
			slots[slot] = deleted;
			size--;
			return true;
		},
		keys: function* () {
			for (const entry of slots)
				if (entry >= firstEntry) yield entries.toString('utf8', entry + headBytes, keyEnd(entry));
		},
		size: () => size,
	};
};
