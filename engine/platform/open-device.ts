import * as platform from "#platform";
import type { Device } from "../runtime/device.ts";
import { type DeviceOptions, openDeviceOn } from "../runtime/open-device.ts";

/** Opens a device where this runs, in Node or in a browser. @throws as `openDeviceOn` */
export function openDevice(options: DeviceOptions = {}): Promise<Device> {
  return openDeviceOn(platform, options);
}
