import { create } from "webgpu";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { dawnToggles } from "../../engine/platform/dawn-toggles.ts";
import { finish, testDevice } from "../support/device.ts";

test("f16 and matrix units are asked for on NVIDIA too; accesses are clamped only when asked", () => {
  for (const robust of [false, true]) {
    const toggles = dawnToggles(robust);
    assert.ok(toggles.includes("vulkan_enable_f16_on_nvidia") && toggles.includes("allow_unsafe_apis"));
    assert.is(toggles.includes("disable_robustness"), !robust);
  }
});

test("Dawn takes every toggle, and the device says how its accesses are", async () => {
  for (const robust of [false, true]) {
    const gpu = create(["backend=null", `enable-dawn-features=${dawnToggles(robust).join(",")}`]);
    assert.ok(await gpu.requestAdapter());
    alive.push(gpu);
  }
  assert.is((await testDevice()).info.robust, false);
});

/** Dawn crashes when these are collected early. */
const alive: GPU[] = [];

finish();
