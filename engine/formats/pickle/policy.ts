/**
 * Which names a checkpoint's pickle may mention and call. Nothing is ever imported or run, so every answer is safe; a file that
 * asks for something dangerous is refused all the same, because it is hostile or was tampered with and the user should know.
 *
 * - A name from a module that can reach the system (os, subprocess, builtins.eval, ...) is refused wherever it appears.
 * - A class (by Python's convention, a name with a capital letter) of any other module may be instantiated; what results is inert
 *   data. Lightning checkpoints hold callbacks, paths and configs in this way.
 * - A function may not be called, unless it is in the short list of those that only make data.
 */
import { FormatError, quote } from "../errors.ts";
import { PickleGlobal } from "./values.ts";

const REFUSED_MODULES = new Set(
  (
    "os posix nt posixpath ntpath sys subprocess _posixsubprocess popen2 commands pty tty shutil socket _socket socketserver ssl select " +
      "selectors asyncio " +
    "multiprocessing concurrent threading _thread signal _signal ctypes _ctypes cffi importlib imp zipimport pkgutil runpy modulefinder " +
      "code codeop " +
    "compileall py_compile marshal pickle _pickle cPickle pickletools dill cloudpickle joblib shelve dbm sqlite3 copy copyreg copy_reg " +
      "operator _operator functools _functools " +
    "itertools types inspect ast dis gc weakref atexit site sysconfig platform pip ensurepip venv setuptools pkg_resources distutils " +
    "webbrowser antigravity urllib urllib2 urllib3 http httplib httpx requests aiohttp ftplib smtplib poplib imaplib telnetlib " +
      "nntplib xmlrpc " +
    "tempfile io _io fileinput linecache glob mmap fcntl resource pwd grp termios getpass logging pdb bdb cProfile profile timeit trace " +
      "tracemalloc " +
    "doctest unittest idlelib lib2to3 turtledemo tkinter codecs encodings ipython IPython pydoc rlcompleter cmd sh plumbum fabric paramiko"
  ).split(" "),
);

/** Plain data kept in modules that are refused otherwise. */
const DATA_TYPES = new Set(["types.SimpleNamespace", "io.BytesIO", "_io.BytesIO"]);

/** Of `builtins`, whose other members are refused. */
const PLAIN_BUILTINS = new Set(
  "bool int float complex str bytes bytearray list tuple dict set frozenset object slice range xrange long unicode".split(" "),
);

/** Lower-case names whose call makes nothing but data. */
const DATA_FUNCTIONS = new Set([
  "_codecs.encode",
  "collections.defaultdict",
  "collections.deque",
  "datetime.date",
  "datetime.datetime",
  "datetime.time",
  "datetime.timedelta",
  "datetime.timezone",
  "numpy.core.multiarray._reconstruct",
  "numpy.core.multiarray.scalar",
  "numpy._core.multiarray._reconstruct",
  "numpy._core.multiarray.scalar",
  "numpy.core.numeric._frombuffer",
  "numpy._core.numeric._frombuffer",
  "numpy.dtype",
  "numpy.ndarray",
  "numpy.random._pickle.__randomstate_ctor",
  "numpy.random._pickle.__generator_ctor",
  "numpy.random._pickle.__bit_generator_ctor",
  "torch.device",
  "torch.serialization._get_layout",
  "torch._utils._rebuild_sparse_tensor",
  "torch._utils._rebuild_sparse_csr_tensor",
  "torch._utils._rebuild_nested_tensor",
  "torch._utils._rebuild_qtensor",
  "torch._utils._rebuild_device_tensor_from_numpy",
  "torch._utils._rebuild_meta_tensor_no_storage",
  "torch._utils._rebuild_wrapper_subclass",
]);

const ADVICE =
  "a checkpoint only rebuilds tensors and containers; do not load this file with other tools, get it from its author as safetensors";

/** @throws FormatError if a checkpoint has no business naming `module.name`. */
export function checkGlobal(file: string, module: string, name: string): PickleGlobal {
  const root = module.split(".")[0]!;
  const path = `${module}.${name}`;
  const builtin = root === "builtins" || root === "__builtin__" || root === "__builtins__";
  const refused = builtin ? !PLAIN_BUILTINS.has(name) : REFUSED_MODULES.has(root) && !DATA_TYPES.has(path);
  // A dotted path can walk from a harmless class to anything: Foo.__init__.__globals__
  const hidden =
    !DATA_FUNCTIONS.has(path) && path.split(".").some((part) => part.startsWith("__") && part !== "__main__" && part !== "__builtin__");
  if (refused || hidden || module === "" || name === "") {
    throw new FormatError(file, `refused: its pickle names ${quote(path)}, which could run code; ${ADVICE}`);
  }
  return new PickleGlobal(module, name);
}

/** @throws FormatError if `callable` is a function that does more than make data. */
export function checkCall(file: string, callable: PickleGlobal): void {
  const { path, name } = callable;
  const isClass = /^_*\p{Lu}/u.test(name.split(".").at(-1)!);
  const isBuiltinType = callable.module === "builtins" || callable.module === "__builtin__";
  if (!isClass && !isBuiltinType && !DATA_FUNCTIONS.has(path)) {
    throw new FormatError(file, `refused: its pickle calls ${quote(path)}; ${ADVICE}`);
  }
}
