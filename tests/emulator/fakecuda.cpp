// A CUDA device on the processor, for CuPy's own wheel and NVIDIA's own bindings.
//
// Device memory is the host's and starts as NaN. A stream does its work at once, or records it while
// it is captured; a graph repeats what was recorded. Kernels are compiled by g++ (compile.py) from
// the source that NVRTC would get. Every stream carries a vector clock, so that two pieces of work
// that touch the same memory without an event between them are found, whatever came first here.
#include <dlfcn.h>
#include <driver_types.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

// -- counting: what a test asks about (emulated.py) ----------------------------------------------

static std::map<std::string, long> counts;
static std::vector<std::string> complaints;
static bool dry = false;  // launches cost the host what they cost, and do nothing
static unsigned order_seed = 0;

static void note(const std::string& what) {
    counts[what]++;
    static FILE* log = getenv("FAKECUDA_LOG") ? fopen(getenv("FAKECUDA_LOG"), "w") : nullptr;
    if (log) { fprintf(log, "%s\n", what.c_str()); fflush(log); }
}
static void complain(const std::string& text) {
    note("complaint " + text);
    complaints.push_back(text);
}

API long fake_count(const char* what) {
    auto found = counts.find(what);
    return found == counts.end() ? 0 : found->second;
}
API void fake_reset() { counts.clear(); complaints.clear(); }
API const char* fake_complaints() {
    static std::string all;
    all.clear();
    for (auto& text : complaints) all += text + "\n";
    return all.c_str();
}
API const char* fake_counts() {
    static std::string all;
    all.clear();
    for (auto& c : counts) all += c.first + "\t" + std::to_string(c.second) + "\n";
    return all.c_str();
}
API void fake_dry(int on) { dry = on; }
API void fake_order(unsigned seed) { order_seed = seed; }  // 0: as recorded

// -- streams, events and captures ------------------------------------------------------------------

struct Stream;
typedef std::map<Stream*, long> Clock;  // how much of each stream's work comes before

static void merge(Clock& into, const Clock& from) {
    for (auto& entry : from) if (into[entry.first] < entry.second) into[entry.first] = entry.second;
}

struct Touched { std::vector<uintptr_t> reads, writes; };
struct Work {
    std::string name;
    Touched touched;
    std::function<void()> run;
    Stream* stream;
    long time;
    Clock before;
    bool follows(const Work& other) const {
        auto found = before.find(other.stream);
        return found != before.end() && found->second >= other.time;
    }
};

// Who wrote each place last, and who has read it since.
struct Access { Stream* stream; long time; std::string name; };
struct Place { Access written{nullptr, 0, ""}; std::map<Stream*, Access> read; };
struct Places {
    std::map<uintptr_t, Place> all;
    void check(const Work& work) {
        auto races = [&](const Access& other) {
            if (!other.stream || other.stream == work.stream) return;
            auto found = work.before.find(other.stream);
            if (found == work.before.end() || found->second < other.time)
                complain("race between " + other.name + " and " + work.name);
        };
        for (auto address : work.touched.reads) {
            Place& place = all[address];
            races(place.written);
            place.read[work.stream] = {work.stream, work.time, work.name};
        }
        for (auto address : work.touched.writes) {
            Place& place = all[address];
            races(place.written);
            for (auto& entry : place.read) races(entry.second);
            place.read.clear();
            place.written = {work.stream, work.time, work.name};
        }
    }
};

struct Graph { std::vector<Work> work; };
struct Capture { Graph* graph; bool broken; Places places; };
struct Stream { unsigned flags; Capture* capture; bool origin; Clock clock; };
struct Event { Capture* capture; Clock clock; };

static Stream null_stream{0, nullptr, false, {}};
static std::set<Stream*> streams{&null_stream}, captured;
static Places places;
static Clock waited_for;  // what the host has seen done comes before all it asks for later
static std::recursive_mutex mutex;
static int last_error = 0;

static int fail(int code) { return last_error = code; }
static Stream* stream_of(void* p) { return (uintptr_t)p < 3 ? &null_stream : (Stream*)p; }

static int submit(void* sp, std::string name, Touched touched, std::function<void()> run) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    Stream* s = stream_of(sp);
    note(s->capture ? "captured " + name.substr(0, name.find(' ')) : name.substr(0, name.find(' ')));
    if (s->capture && s->capture->broken) return fail(901);
    if (dry && !s->capture) return 0;
    if (!s->capture) {
        merge(s->clock, waited_for);
        // The default stream waits for every stream that is not "non-blocking", and they for it.
        for (auto t : streams)
            if (t != s && !(t->flags & 1) && !(s->flags & 1)) merge(s->clock, t->clock);
    }
    s->clock[s]++;
    Work work{std::move(name), std::move(touched), std::move(run), s, s->clock[s], s->clock};
    (s->capture ? s->capture->places : places).check(work);
    if (s->capture) s->capture->graph->work.push_back(std::move(work));
    else work.run();
    return 0;
}

static int wait_for(void* sp, bool all) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    note("wait");
    Stream* s = stream_of(sp);
    if (all ? !captured.empty() : s->capture != nullptr) {
        for (auto t : captured) t->capture->broken = true;
        complain("a wait while a stream is captured");
        return fail(900);
    }
    if (all) for (auto t : streams) merge(waited_for, t->clock);
    else merge(waited_for, s->clock);
    return 0;
}

API const char* cudaGetErrorName(int c) {
    switch (c) {
        case 0: return "cudaSuccess";
        case 1: return "cudaErrorInvalidValue";
        case 2: return "cudaErrorMemoryAllocation";
        case 100: return "cudaErrorNoDevice";
        case 801: return "cudaErrorNotSupported";
        case 900: return "cudaErrorStreamCaptureUnsupported";
        case 901: return "cudaErrorStreamCaptureInvalidated";
        case 903: return "cudaErrorStreamCaptureUnmatched";
        case 904: return "cudaErrorStreamCaptureUnjoined";
        case 905: return "cudaErrorStreamCaptureIsolation";
        case 906: return "cudaErrorStreamCaptureImplicit";
        default: return "cudaErrorUnknown";
    }
}
API const char* cudaGetErrorString(int c) { return cudaGetErrorName(c); }
API int cudaGetLastError() { int e = last_error; last_error = 0; return e; }
API int cudaPeekAtLastError() { return last_error; }
API int cudaDriverGetVersion(int* v) { *v = 13000; return 0; }
API int cudaRuntimeGetVersion(int* v) { *v = 12090; return 0; }
API int cudaGetDevice(int* d) { *d = 0; return 0; }
API int cudaGetDeviceCount(int* n) { *n = 1; return 0; }
API int cudaSetDevice(int d) { return d == 0 ? 0 : fail(101); }
API int cudaDeviceSynchronize() { return wait_for(nullptr, true); }
API int cudaDeviceGetAttribute(int* v, int attribute, int) {
    switch (attribute) {
        case 1: *v = 1024; break;    // threads of a block
        case 8: *v = 49152; break;   // shared memory of a block
        case 10: *v = 32; break;     // warp
        case 16: *v = 132; break;    // multiprocessors
        case 75: *v = 9; break;      // compute capability 9.0
        default: *v = 0;
    }
    return 0;
}
API int FAKE_PROPERTIES(cudaDeviceProp* p, int) {
    memset(p, 0, sizeof *p);
    strcpy(p->name, "emulated device");
    p->major = 9;
    p->totalGlobalMem = 1ull << 37;
    p->warpSize = 32;
    p->multiProcessorCount = 132;
    p->maxThreadsPerBlock = 1024;
    p->sharedMemPerBlock = 49152;
    return 0;
}
API int cudaDeviceCanAccessPeer(int* c, int, int) { *c = 1; return 0; }
API int cudaDeviceEnablePeerAccess(int, unsigned) { return 0; }

// -- memory ------------------------------------------------------------------------------------------

static std::map<void*, size_t> blocks;
static bool exact() { static bool on = getenv("FAKECUDA_EXACT"); return on; }  // for AddressSanitizer

API int cudaMalloc(void** p, size_t n) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    note("malloc");
    if (!captured.empty()) complain("memory is allocated while a stream is captured");
    *p = exact() ? malloc(n ? n : 1) : aligned_alloc(512, (n + 511) / 512 * 512 + 512);
    memset(*p, 0xff, n);
    blocks[*p] = n;
    return 0;
}
API int cudaFree(void* p) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    if (!p) return 0;
    if (!blocks.erase(p)) return fail(1);
    if (!captured.empty()) complain("memory is freed while a stream is captured");
    note("free");
    free(p);
    return 0;
}
static bool on_device(const void* p) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    auto after = blocks.upper_bound((void*)p);  // the last block that does not begin after p
    if (after == blocks.begin()) return false;
    auto& block = *--after;
    return (char*)p < (char*)block.first + block.second;
}
API int cudaHostAlloc(void** p, size_t n, unsigned) {
    *p = aligned_alloc(512, (n + 511) / 512 * 512 + 512);
    return 0;
}
API int cudaFreeHost(void* p) { free(p); return 0; }
API int cudaMemGetInfo(size_t* a, size_t* b) { *a = 100ull << 30; *b = 140ull << 30; return 0; }
API int cudaPointerGetAttributes(cudaPointerAttributes* a, const void* p) {
    memset(a, 0, sizeof *a);
    a->type = cudaMemoryTypeDevice;
    a->devicePointer = (void*)p;
    return 0;
}
API int cudaMemcpyAsync(void* d, const void* s, size_t n, int kind, void* stream) {
    auto side = [](const void* p) { return on_device(p) ? "D" : "H"; };
    return submit(stream, std::string("memcpy_") + side(s) + "to" + side(d),
                  {{(uintptr_t)s}, {(uintptr_t)d}}, [=] { memmove(d, s, n); });
}
API int cudaMemcpy(void* d, const void* s, size_t n, int kind) {
    int error = wait_for(nullptr, true);
    return error ? error : cudaMemcpyAsync(d, s, n, kind, nullptr);
}
API int cudaMemsetAsync(void* d, int v, size_t n, void* stream) {
    return submit(stream, "memset", {{}, {(uintptr_t)d}}, [=] { memset(d, v, n); });
}
API int cudaMemset(void* d, int v, size_t n) {
    int error = wait_for(nullptr, true);
    return error ? error : cudaMemsetAsync(d, v, n, nullptr);
}

// -- streams -----------------------------------------------------------------------------------------

API int cudaStreamCreateWithPriority(void** s, unsigned flags, int) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    Stream* made = new Stream{flags, nullptr, false, {}};
    streams.insert(made);
    *s = made;
    return 0;
}
API int cudaStreamCreateWithFlags(void** s, unsigned f) { return cudaStreamCreateWithPriority(s, f, 0); }
API int cudaStreamCreate(void** s) { return cudaStreamCreateWithPriority(s, 0, 0); }
API int cudaStreamGetFlags(void* s, unsigned* f) { *f = stream_of(s)->flags; return 0; }
API int cudaStreamGetPriority(void*, int* p) { *p = 0; return 0; }
API int cudaStreamDestroy(void* sp) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    Stream* s = stream_of(sp);
    if (s->capture) complain("a stream is destroyed while it is captured");
    captured.erase(s);
    streams.erase(s);
    return 0;  // kept: clocks know it by its address, which must not be another's
}
API int cudaStreamSynchronize(void* s) { return wait_for(s, false); }
API int cudaStreamQuery(void* s) { return stream_of(s)->capture ? fail(900) : 0; }
API int cudaStreamWaitEvent(void* sp, void* ep, unsigned) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    Stream* s = stream_of(sp);
    Event* e = (Event*)ep;
    if (s->capture && s->capture->broken) return fail(901);
    if (e->capture) {
        if (s == &null_stream) return fail(906);
        if (s->capture && s->capture != e->capture) return fail(903);
        s->capture = e->capture;
        captured.insert(s);
    } else if (s->capture) return fail(905);
    merge(s->clock, e->clock);
    return 0;
}
API int cudaEventCreateWithFlags(void** e, unsigned) { *e = new Event{nullptr, {}}; return 0; }
API int cudaEventCreate(void** e) { return cudaEventCreateWithFlags(e, 0); }
API int cudaEventDestroy(void* e) { delete (Event*)e; return 0; }
API int cudaEventRecord(void* e, void* sp) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    Stream* s = stream_of(sp);
    if (s->capture && s->capture->broken) return fail(901);
    *(Event*)e = {s->capture, s->clock};
    return 0;
}
API int cudaEventQuery(void*) { return 0; }
API int cudaEventSynchronize(void* ep) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    note("wait");
    if (((Event*)ep)->capture) return fail(900);
    merge(waited_for, ((Event*)ep)->clock);
    return 0;
}
API int cudaEventElapsedTime(float* ms, void*, void*) { *ms = 1; return 0; }

API int cudaStreamBeginCapture(void* sp, int) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    Stream* s = stream_of(sp);
    if (s == &null_stream || s->capture) return fail(900);
    if (!(s->flags & 1)) return fail(906);  // it would wait for the default stream
    s->capture = new Capture{new Graph, false, {}};
    s->origin = true;
    captured.insert(s);
    return 0;
}
API int cudaStreamEndCapture(void* sp, void** g) {
    std::lock_guard<std::recursive_mutex> lock(mutex);
    Stream* s = stream_of(sp);
    *g = nullptr;
    if (!s->capture || !s->origin) return fail(901);
    Capture* c = s->capture;
    bool unjoined = false;
    for (auto t : std::set<Stream*>(captured)) {
        if (t->capture != c) continue;
        if (t != s && t->clock[t] > s->clock[t]) unjoined = true;
        t->capture = nullptr;
        t->origin = false;
        captured.erase(t);
    }
    if (c->broken) return fail(901);
    if (unjoined) return fail(904);
    *g = c->graph;
    return 0;
}
API int cudaStreamIsCapturing(void* sp, int* v) {
    Stream* s = stream_of(sp);
    *v = !s->capture ? 0 : s->capture->broken ? 2 : 1;
    return 0;
}

// -- graphs ------------------------------------------------------------------------------------------

API int cudaGraphInstantiate(void** e, void* g, ...) { *e = new Graph(*(Graph*)g); note("graph_instantiate"); return 0; }
API int cudaGraphInstantiateWithFlags(void** e, void* g, unsigned long long) { return cudaGraphInstantiate(e, g); }
API int cudaGraphDestroy(void* g) { delete (Graph*)g; return 0; }
API int cudaGraphExecDestroy(void* g) { delete (Graph*)g; return 0; }
API int cudaGraphUpload(void*, void*) { return 0; }

// Any order that the events allow is one that a device may take; a seed chooses one.
static std::vector<const Work*> ordered(const Graph& graph) {
    std::vector<const Work*> left, result;
    for (auto& work : graph.work) left.push_back(&work);
    if (!order_seed) return left;
    static std::mt19937 random;
    random.seed(order_seed);
    while (!left.empty()) {
        std::vector<size_t> ready;
        for (size_t k = 0; k < left.size(); ++k) {
            bool free = true;
            for (size_t j = 0; j < left.size() && free; ++j)
                free = j == k || !left[k]->follows(*left[j]);
            if (free) ready.push_back(k);
        }
        size_t next = ready[random() % ready.size()];
        result.push_back(left[next]);
        left.erase(left.begin() + next);
    }
    return result;
}
static std::shared_ptr<Graph> last_graph = std::make_shared<Graph>();

API int cudaGraphLaunch(void* gp, void* sp) {
    Stream* s = stream_of(sp);
    if (s->capture) return fail(900);
    Graph* graph = (Graph*)gp;
    if (!dry) *last_graph = *graph;
    Touched touched;
    if (!dry)
        for (auto& work : graph->work) {
            auto& all = work.touched;
            touched.reads.insert(touched.reads.end(), all.reads.begin(), all.reads.end());
            touched.writes.insert(touched.writes.end(), all.writes.begin(), all.writes.end());
        }
    return submit(sp, "graph_launch", touched, [=] { for (auto work : ordered(*graph)) work->run(); });
}
API const char* fake_graph() {  // of the last graph that was launched: stream, place in a row, name
    static std::string all;
    all.clear();
    std::map<Stream*, int> numbers;
    std::vector<int> rows;  // how many follow one another up to each
    for (auto& work : last_graph->work) {
        int row = 1;
        for (size_t k = 0; k < rows.size(); ++k)
            if (work.follows(last_graph->work[k]) && row <= rows[k]) row = rows[k] + 1;
        rows.push_back(row);
        int number = numbers.emplace(work.stream, (int)numbers.size()).first->second;
        all += std::to_string(number) + "\t" + std::to_string(row) + "\t" + work.name + "\n";
    }
    return all.c_str();
}

// -- NVRTC: the "machine code" is the source ----------------------------------------------------------

struct Program { std::string source, options; };
API const char* nvrtcGetErrorString(int) { return "NVRTC error"; }
API int nvrtcVersion(int* a, int* b) { *a = 12; *b = 9; return 0; }
API int nvrtcGetNumSupportedArchs(int* n) { *n = 1; return 0; }
API int nvrtcGetSupportedArchs(int* a) { *a = 90; return 0; }
API int nvrtcCreateProgram(void** p, const char* source, const char*, int, const char**, const char**) {
    *p = new Program{source, ""};
    return 0;
}
API int nvrtcDestroyProgram(void** p) { delete (Program*)*p; return 0; }
API int nvrtcCompileProgram(void* p, int n, const char** options) {
    for (int i = 0; i < n; ++i)
        if (!strncmp(options[i], "-D", 2)) ((Program*)p)->options += std::string(" ") + options[i];
    return 0;
}
static std::string code(void* p) {
    return "//" + ((Program*)p)->options + "\n" + ((Program*)p)->source;
}
API int nvrtcGetCUBINSize(void* p, size_t* n) { *n = code(p).size() + 1; return 0; }
API int nvrtcGetCUBIN(void* p, char* c) { strcpy(c, code(p).c_str()); return 0; }
API int nvrtcGetPTXSize(void* p, size_t* n) { return nvrtcGetCUBINSize(p, n); }
API int nvrtcGetPTX(void* p, char* c) { return nvrtcGetCUBIN(p, c); }
API int nvrtcGetProgramLogSize(void*, size_t* n) { *n = 1; return 0; }
API int nvrtcGetProgramLog(void*, char* c) { *c = 0; return 0; }
API int nvrtcAddNameExpression(void*, const char*) { return 0; }
API int nvrtcGetLoweredName(void*, const char* a, const char** b) { *b = a; return 0; }
API int nvrtcGetLTOIRSize(void*, size_t*) { return 801; }
API int nvrtcGetLTOIR(void*, char*) { return 801; }

// -- driver: modules, functions and launches ----------------------------------------------------------

typedef int (*Entry)(const unsigned* grid, const unsigned* block, void** arguments);
struct Function { Entry entry; std::string name; const int* sizes; const char* kinds; };

API int cuGetErrorName(int, const char** s) { *s = "CUDA_ERROR"; return 0; }
API int cuGetErrorString(int, const char** s) { *s = "error of the emulated driver"; return 0; }
API int cuInit(unsigned) { return 0; }
API int cuDriverGetVersion(int* v) { *v = 13000; return 0; }
API int cuCtxGetCurrent(void** c) { *c = (void*)1; return 0; }
API int cuCtxSetCurrent(void*) { return 0; }
API int cuCtxGetDevice(int* d) { *d = 0; return 0; }
API int cuStreamGetCtx(void*, void** c) { *c = (void*)1; return 0; }
API int cuFuncGetAttribute(int* v, int, void*) { *v = 1024; return 0; }
API int cuFuncSetAttribute(void*, int, int) { return 0; }
API int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* n, void*, int, size_t) { *n = 2; return 0; }
API int cuOccupancyMaxPotentialBlockSize(int* g, int* b, void*, void*, size_t, int) { *g = 64; *b = 256; return 0; }

API int cuModuleLoadData(void** module, const char* image) {
    std::string text = image, root = getenv("FAKECUDA_ROOT");
    std::string base = root + "/kernels/" + std::to_string(std::hash<std::string>()(text));
    struct stat there;
    if (stat((base + ".so").c_str(), &there)) {
        std::string mine = base + "." + std::to_string(getpid());
        FILE* file = fopen((mine + ".cu").c_str(), "w");
        if (!file) return 301;
        fputs(text.c_str(), file);
        fclose(file);
        note("compile");
        // Without the preloaded libraries: the compiler is no part of what is emulated.
        std::string command = "env -u LD_PRELOAD -u LD_LIBRARY_PATH python3 -S '" + root +
                              "/compile.py' '" + mine + ".cu' '" + mine + ".so' >'" + mine + ".log' 2>&1";
        if (system(command.c_str())) {
            fprintf(stderr, "emulated device: cannot compile, see %s.log\n", mine.c_str());
            return 300;
        }
        rename((mine + ".so").c_str(), (base + ".so").c_str());
        for (auto end : {".cu", ".cu.cpp", ".log"}) unlink((mine + end).c_str());
    }
    void* handle = dlopen((base + ".so").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) { fprintf(stderr, "emulated device: %s\n", dlerror()); return 300; }
    *module = handle;
    return 0;
}
API int cuModuleLoad(void**, const char*) { return 801; }
API int cuModuleUnload(void*) { return 0; }
API int cuModuleGetGlobal_v2(void**, size_t*, void*, const char*) { return 500; }
API int cuModuleGetFunction(void** f, void* module, const char* name) {
    auto symbol = [&](const char* what) { return dlsym(module, (std::string(what) + name).c_str()); };
    Entry entry = (Entry)symbol("host_");
    if (!entry) return 500;
    *f = new Function{entry, name, (const int*)symbol("sizes_"), (const char*)symbol("kinds_")};
    return 0;
}
API int cuLaunchKernel(void* fp, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                       unsigned bz, unsigned, void* stream, void** arguments, void**) {
    Function* f = (Function*)fp;
    if (!gx || !gy || !gz || bx * by * bz > 1024 || !(bx * by * bz) || gy > 65535 || gz > 65535) return 1;
    if (dry && !stream_of(stream)->capture) return submit(stream, f->name, {}, [] {});
    auto given = std::make_shared<std::vector<std::vector<char>>>();  // read now, as a launch does
    Touched touched;
    for (int i = 0; f->kinds[i]; ++i) {
        given->emplace_back((char*)arguments[i], (char*)arguments[i] + f->sizes[i]);
        uintptr_t address = 0;
        if (f->kinds[i] != 's') memcpy(&address, arguments[i], sizeof address);
        if (address) (f->kinds[i] == 'r' ? touched.reads : touched.writes).push_back(address);
    }
    return submit(stream, f->name, touched, [=] {
        unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
        std::vector<void*> pointers;
        for (auto& argument : *given) pointers.push_back(argument.data());
        if (f->entry(grid, block, pointers.data())) complain(f->name + ": threads wait for others that do not come");
    });
}

// -- cuBLAS: column-major products ----------------------------------------------------------------------

struct Blas { void* stream; void* workspace; };
API int cublasCreate_v2(void** h) {
    if (!captured.empty()) complain("a cuBLAS handle is made while a stream is captured");
    *h = new Blas{nullptr, nullptr};
    return 0;
}
API int cublasDestroy_v2(void* h) {
    if (!captured.empty()) complain("a cuBLAS handle is destroyed while a stream is captured");
    note("cublas_destroy");
    delete (Blas*)h;
    return 0;
}
API int cublasSetStream_v2(void* h, void* s) { *(Blas*)h = {s, nullptr}; return 0; }  // takes the workspace away
API int cublasGetStream_v2(void* h, void** s) { *s = ((Blas*)h)->stream; return 0; }
API int cublasSetWorkspace_v2(void* h, void* w, size_t) {
    if ((uintptr_t)w % 256) return 7;
    ((Blas*)h)->workspace = w;
    return 0;
}
API int cublasGetVersion_v2(void*, int* v) { *v = 120900; return 0; }
API int cublasGetPointerMode_v2(void*, int* m) { *m = 0; return 0; }
API int cublasSetPointerMode_v2(void*, int) { return 0; }
API int cublasGetMathMode(void*, int* m) { *m = 0; return 0; }
API int cublasSetMathMode(void*, int) { return 0; }

static float tf32(float x) {  // 10 bits of mantissa, as tensor cores take their factors
    uint32_t bits;
    if (!std::isfinite(x)) return x;
    memcpy(&bits, &x, 4);
    bits = (bits + 0x1000) & 0xFFFFE000;
    memcpy(&x, &bits, 4);
    return x;
}
// op(a), m x n, with its columns side by side
template <class T> static std::vector<T> factor(const T* a, int ld, bool transposed, int m, int n, bool rounded) {
    std::vector<T> packed((size_t)m * n);
    for (int j = 0; j < n; ++j)
        for (int i = 0; i < m; ++i) {
            T x = transposed ? a[(size_t)i * ld + j] : a[(size_t)j * ld + i];
            packed[(size_t)j * m + i] = rounded ? (T)tf32((float)x) : x;
        }
    return packed;
}
template <class T> static int gemm(Blas* h, int ta, int tb, int m, int n, int k, const void* alpha_p,
                                   const void* a, int lda, const void* b, int ldb, const void* beta_p,
                                   void* cp, int ldc, bool rounded) {
    if (m < 0 || n < 0 || k < 0 || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m || lda < 1 || ldb < 1) return 7;
    if (stream_of(h->stream)->capture && !h->workspace) complain("a product without a workspace while a stream is captured");
    uintptr_t bytes = (uintptr_t)a | (uintptr_t)b | (uintptr_t)cp | (lda | ldb | ldc) * sizeof(T);
    note(bytes % 16 ? "gemm not on 16 bytes" : "gemm on 16 bytes");
    T alpha = *(const T*)alpha_p, beta = *(const T*)beta_p;
    Touched touched{{(uintptr_t)a, (uintptr_t)b}, {(uintptr_t)cp}};
    if (h->workspace) touched.writes.push_back((uintptr_t)h->workspace);
    std::string name = "gemm " + std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
    return submit(h->stream, name, touched, [=] {
        auto left = factor((const T*)a, lda, ta, m, k, rounded), right = factor((const T*)b, ldb, tb, k, n, rounded);
        std::vector<T> sum(m);
        for (int j = 0; j < n; ++j) {
            std::fill(sum.begin(), sum.end(), (T)0);
            for (int l = 0; l < k; ++l) {
                const T* column = &left[(size_t)l * m];
                T x = right[(size_t)j * k + l];
                for (int i = 0; i < m; ++i) sum[i] += column[i] * x;
            }
            T* out = (T*)cp + (size_t)j * ldc;
            for (int i = 0; i < m; ++i) out[i] = beta == (T)0 ? alpha * sum[i] : alpha * sum[i] + beta * out[i];
        }
    });
}
API int cublasGemmEx(void* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at,
                     int lda, const void* b, int bt, int ldb, const void* beta, void* c, int ct, int ldc,
                     int compute, int) {
    if (at != bt || bt != ct || (at != 0 && at != 1)) return 15;
    return at ? gemm<double>((Blas*)h, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, false)
              : gemm<float>((Blas*)h, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, compute == 77);
}
API int cublasSgemm_v2(void* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int lda,
                       const void* b, int ldb, const void* beta, void* c, int ldc) {
    return gemm<float>((Blas*)h, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, false);
}
API int cublasDgemm_v2(void* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int lda,
                       const void* b, int ldb, const void* beta, void* c, int ldc) {
    return gemm<double>((Blas*)h, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, false);
}
API int cublasSgemmEx(void* h, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int,
                      int lda, const void* b, int, int ldb, const void* beta, void* c, int, int ldc) {
    return cublasSgemm_v2(h, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
