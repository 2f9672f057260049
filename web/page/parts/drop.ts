/** Files dropped on an element, with their paths where a folder was dropped. */

/** @param onFiles told path -> file of everything dropped */
export function acceptDrops(element: HTMLElement, onFiles: (files: Record<string, File>) => void): void {
  element.addEventListener("dragover", (event) => {
    event.preventDefault();
    element.classList.add("over");
  });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    if (event.dataTransfer) void collect(event.dataTransfer).then(onFiles);
  });
}

async function collect(transfer: DataTransfer): Promise<Record<string, File>> {
  const entries = [...transfer.items].flatMap((item) => item.webkitGetAsEntry() ?? []);
  if (entries.length === 0) return pathsOf(transfer.files);
  const files: Record<string, File> = {};
  for (const entry of entries) await walk(entry, files);
  return files;
}

async function walk(entry: FileSystemEntry, files: Record<string, File>): Promise<void> {
  if (entry.isFile) {
    files[entry.fullPath.slice(1)] = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  // It gives at most a hundred at a time, and an empty list at the end.
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const one of some) await walk(one, files);
  }
}

/** Files of an <input>, by their path in the chosen folder. */
export function pathsOf(list: FileList): Record<string, File> {
  return Object.fromEntries([...list].map((file) => [file.webkitRelativePath || file.name, file]));
}
