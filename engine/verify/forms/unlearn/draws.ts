import type { Draws } from "../../../unlearn/index.ts";

/** Hands out a recorded run's numbers in the places of its own, by their names and in their order. */
export class RecordedDraws implements Draws {
  private readonly used = new Map<string, number>();

  /** @param recorded by name: whole numbers, or arrays of normals one after the other */
  constructor(private readonly recorded: Readonly<Record<string, ArrayLike<number> | readonly Float32Array<ArrayBuffer>[]>>) {}

  whole(name: string, low: number, high: number): number {
    const value = this.next(name) as number;
    if (!(Number.isInteger(value) && value >= low && value < high)) {
      throw new Error(`the method draws "${name}" from ${low} to ${high - 1}, the trace holds ${value}`);
    }
    return value;
  }

  normal(name: string, shape: readonly number[]): Float32Array<ArrayBuffer> {
    const value = this.next(name) as Float32Array<ArrayBuffer>;
    const size = shape.reduce((a, b) => a * b, 1);
    if (value.length !== size) throw new Error(`the method draws "${name}" [${shape.join(", ")}], the trace holds ${value.length} numbers`);
    return value;
  }

  private next(name: string): unknown {
    const list = this.recorded[name];
    const at = this.used.get(name) ?? 0;
    this.used.set(name, at + 1);
    const value = list?.[at];
    if (value === undefined) throw new Error(`the method draws "${name}" number ${at + 1}, the trace holds ${list?.length ?? "none"}`);
    return value;
  }

  save(): unknown {
    throw new Error("a replay is not saved");
  }

  restore(): void {
    throw new Error("a replay is not resumed");
  }
}
