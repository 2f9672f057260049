/**
 * A restricted unpickler: it builds plain data from a Python pickle (protocol 2 to 5) and runs nothing. Names are looked up and
 * calls answered by a host, which knows a short list of harmless ones; everything else stays inert data or is refused.
 * Opcodes: Python's Lib/pickletools.py. Work and memory are bounded by the pickle's own size.
 */
import { FormatError } from "../errors.ts";
import { PickleReader } from "./reader.ts";
import { describe, PickleDict, PickleGlobal, PickleList, PickleObject, PickleSet, PickleTuple, type PickleValue } from "./values.ts";

/** Decides what names and calls mean. Every method throws FormatError to refuse. */
export interface PickleHost {
  /** A name is mentioned. */
  global(module: string, name: string): PickleGlobal;
  /** REDUCE: a call of `callable`. */
  call(callable: PickleGlobal, args: readonly PickleValue[]): PickleValue;
  /** NEWOBJ: `type.__new__(type, ...args)`. */
  create(type: PickleGlobal, args: readonly PickleValue[]): PickleValue;
  /** BINPERSID: something outside the pickle, such as a tensor's storage. */
  persistent(id: PickleValue): PickleValue;
}

/** Largest pickle taken; the structure of real checkpoints takes a few megabytes, their numbers lie outside of it. */
export const MAX_PICKLE_BYTES = 2 ** 26;
/** Most containers and objects in one pickle; a checkpoint of Stable Diffusion with its optimizer makes about 50,000. */
const MAX_OBJECTS = 1_000_000;
const MAX_STACK = 1_000_000;

/**
 * Reads one pickle from the start of `bytes`.
 * @returns the value, and how many bytes it took.
 * @throws FormatError for damage, a refused name or call, or a breached bound; PickleTruncated if it goes on beyond `bytes`.
 */
export function unpickle(file: string, bytes: Uint8Array, host: PickleHost): { value: PickleValue; end: number } {
  const machine = new Machine(new PickleReader(file, bytes), host);
  const value = machine.run();
  return { value, end: machine.reader.at };
}

class Machine {
  private readonly stack: PickleValue[] = [];
  /** Heights of the stack where marks were set. */
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, PickleValue>();
  private objects = 0;

  constructor(readonly reader: PickleReader, private readonly host: PickleHost) {}

  run(): PickleValue {
    for (;;) {
      const opcode = this.reader.uint8();
      if (opcode === 0x2e) return this.stop();
      if (!this.scalar(opcode) && !this.container(opcode) && !this.reference(opcode)) throw this.unknown(opcode);
      if (this.stack.length > MAX_STACK || this.marks.length > MAX_STACK) {
        throw this.reader.fail(`more than ${MAX_STACK} values on the stack`);
      }
    }
  }

  private stop(): PickleValue {
    const value = this.pop();
    if (this.stack.length > 0) throw this.reader.fail(`${this.stack.length} values are left over at its end`);
    return value;
  }

  /** Opcodes that push a number, a text or bytes. */
  private scalar(opcode: number): boolean {
    const { reader } = this;
    switch (opcode) {
      case 0x4e: this.push(null); break; // NONE
      case 0x88: this.push(true); break; // NEWTRUE
      case 0x89: this.push(false); break; // NEWFALSE
      case 0x4a: this.push(reader.int32()); break; // BININT
      case 0x4b: this.push(reader.uint8()); break; // BININT1
      case 0x4d: this.push(reader.uint16()); break; // BININT2
      case 0x8a: this.push(reader.long(reader.uint8())); break; // LONG1
      case 0x8b: this.push(reader.long(reader.uint32())); break; // LONG4
      case 0x47: this.push(reader.float64()); break; // BINFLOAT
      case 0x58: this.push(reader.utf8Text(reader.uint32())); break; // BINUNICODE
      case 0x8c: this.push(reader.utf8Text(reader.uint8())); break; // SHORT_BINUNICODE
      case 0x8d: this.push(reader.utf8Text(reader.uint64())); break; // BINUNICODE8
      case 0x54: this.push(reader.latin1Text(reader.uint32())); break; // BINSTRING: Python 2's str
      case 0x55: this.push(reader.latin1Text(reader.uint8())); break; // SHORT_BINSTRING
      case 0x42: this.push(reader.raw(reader.uint32())); break; // BINBYTES
      case 0x43: this.push(reader.raw(reader.uint8())); break; // SHORT_BINBYTES
      case 0x8e: case 0x96: this.push(reader.raw(reader.uint64())); break; // BINBYTES8, BYTEARRAY8
      default: return false;
    }
    return true;
  }

  /** Opcodes that make or fill a container. */
  private container(opcode: number): boolean {
    switch (opcode) {
      case 0x28: this.marks.push(this.stack.length); break; // MARK
      case 0x5d: this.make(new PickleList()); break; // EMPTY_LIST
      case 0x7d: this.make(new PickleDict()); break; // EMPTY_DICT
      case 0x8f: this.make(new PickleSet()); break; // EMPTY_SET
      case 0x29: this.make(new PickleTuple([])); break; // EMPTY_TUPLE
      case 0x85: case 0x86: case 0x87: this.make(new PickleTuple(this.take(opcode - 0x84))); break; // TUPLE1 to TUPLE3
      case 0x74: this.make(new PickleTuple(this.takeMarked())); break; // TUPLE
      case 0x6c: this.fill(this.make(new PickleList()), this.takeMarked(1)); break; // LIST
      case 0x64: this.fill(this.make(new PickleDict()), this.takeMarked(1)); break; // DICT
      case 0x91: this.fill(this.make(new PickleSet()), this.takeMarked(1)); break; // FROZENSET
      case 0x61: { const items = this.take(1); this.append(this.top(), items); break; } // APPEND
      case 0x65: { const items = this.takeMarked(); this.append(this.top(), items); break; } // APPENDS
      case 0x73: { const items = this.take(2); this.fill(this.top(), items); break; } // SETITEM
      case 0x75: { const items = this.takeMarked(); this.fill(this.top(), items); break; } // SETITEMS
      case 0x90: { const items = this.takeMarked(); this.append(this.top(), items); break; } // ADDITEMS
      default: return false;
    }
    return true;
  }

  /** Opcodes about the stack, the memo, names, calls and framing. */
  private reference(opcode: number): boolean {
    const { reader, host } = this;
    switch (opcode) {
      case 0x80: { // PROTO
        const protocol = reader.uint8();
        if (protocol > 5) throw reader.fail(`protocol ${protocol} is not known; save with a pickle protocol of 2 to 5`);
        break;
      }
      case 0x95: reader.uint64(); break; // FRAME: only a hint for buffering
      case 0x30: this.discard(); break; // POP
      case 0x31: this.takeMarked(); break; // POP_MARK
      case 0x32: this.push(this.top()); break; // DUP
      case 0x71: this.memo.set(reader.uint8(), this.top()); break; // BINPUT
      case 0x72: this.memo.set(reader.uint32(), this.top()); break; // LONG_BINPUT
      case 0x94: this.memo.set(this.memo.size, this.top()); break; // MEMOIZE
      case 0x68: this.recall(reader.uint8()); break; // BINGET
      case 0x6a: this.recall(reader.uint32()); break; // LONG_BINGET
      case 0x63: this.make(host.global(reader.line(), reader.line())); break; // GLOBAL
      case 0x93: { // STACK_GLOBAL
        const [module, name] = this.take(2);
        if (typeof module !== "string" || typeof name !== "string") throw reader.fail("a global's name should be two strings");
        this.make(host.global(module, name));
        break;
      }
      case 0x52: { // REDUCE
        const [callable, args] = this.take(2);
        this.make(host.call(this.globalOf(callable, "called"), this.argumentsOf(args)));
        break;
      }
      case 0x81: { // NEWOBJ
        const [type, args] = this.take(2);
        this.make(host.create(this.globalOf(type, "instantiated"), this.argumentsOf(args)));
        break;
      }
      case 0x92: { // NEWOBJ_EX: positional and keyword arguments, as two values
        const operands = this.take(3);
        this.make(host.create(this.globalOf(operands.shift(), "instantiated"), operands));
        break;
      }
      case 0x62: { // BUILD: only an unknown object keeps its state; attributes of a dict or tensor carry no data that is wanted
        const [state] = this.take(1);
        const target = this.top();
        if (target instanceof PickleObject) target.state = state ?? null;
        break;
      }
      case 0x51: this.make(host.persistent(this.pop())); break; // BINPERSID
      default: return false;
    }
    return true;
  }

  private unknown(opcode: number): FormatError {
    const shown = opcode > 32 && opcode < 127 ? `"${String.fromCharCode(opcode)}"` : `0x${opcode.toString(16).padStart(2, "0")}`;
    const old = "FILSVPpgio".includes(String.fromCharCode(opcode));
    return this.reader.fail(
      old
        ? `opcode ${shown} of pickle protocol 0 or 1; torch.save writes protocol 2 and above, save the file again`
        : `opcode ${shown} is not allowed or not known; the file is corrupt or not a checkpoint`,
    );
  }

  private push(value: PickleValue): void {
    this.stack.push(value);
  }

  private make<T extends PickleValue>(value: T): T {
    if (++this.objects > MAX_OBJECTS) throw this.reader.fail(`more than ${MAX_OBJECTS} objects`);
    this.stack.push(value);
    return value;
  }

  /** Values may only be taken from above the topmost mark. */
  private get floor(): number {
    return this.marks.at(-1) ?? 0;
  }

  private take(count: number): PickleValue[] {
    if (this.stack.length - count < this.floor) throw this.reader.fail("too few values on the stack");
    return this.stack.splice(this.stack.length - count, count);
  }

  /** Everything above the topmost mark, which goes. With `below`, one value pushed after them stays on top. */
  private takeMarked(below = 0): PickleValue[] {
    const mark = this.marks.pop();
    if (mark === undefined) throw this.reader.fail("no mark on the stack");
    return this.stack.splice(mark, this.stack.length - mark - below);
  }

  private pop(): PickleValue {
    return this.take(1)[0]!;
  }

  /** POP drops a mark if nothing lies above it, as Python's does. */
  private discard(): void {
    if (this.marks.length > 0 && this.stack.length === this.floor) this.marks.pop();
    else this.pop();
  }

  private top(): PickleValue {
    if (this.stack.length <= this.floor) throw this.reader.fail("no value on the stack");
    return this.stack.at(-1)!;
  }

  private recall(index: number): void {
    const value = this.memo.get(index);
    if (value === undefined) throw this.reader.fail(`memo ${index} was never set`);
    this.push(value);
  }

  private append(target: PickleValue, items: readonly PickleValue[]): void {
    if (target instanceof PickleList || target instanceof PickleObject) for (const item of items) target.items.push(item);
    else if (target instanceof PickleSet) for (const item of items) target.items.add(item);
    else throw this.reader.fail(`items are added to ${describe(target)}`);
  }

  private fill(target: PickleValue, items: readonly PickleValue[]): void {
    if (target instanceof PickleList || target instanceof PickleSet) return this.append(target, items);
    const map = target instanceof PickleDict ? target.items : target instanceof PickleObject ? target.entries : undefined;
    if (!map) throw this.reader.fail(`items are set in ${describe(target)}`);
    if (items.length % 2) throw this.reader.fail("a key without a value");
    for (let i = 0; i < items.length; i += 2) map.set(items[i]!, items[i + 1]!);
  }

  private globalOf(value: PickleValue | undefined, what: string): PickleGlobal {
    if (!(value instanceof PickleGlobal)) throw this.reader.fail(`${describe(value)} is ${what}; only known names may be`);
    return value;
  }

  private argumentsOf(value: PickleValue | undefined): readonly PickleValue[] {
    if (!(value instanceof PickleTuple)) throw this.reader.fail(`arguments should be a tuple, not ${describe(value)}`);
    return value.items;
  }
}
