// What CUDA C++ has and C++ has not, for a kernel that runs on the processor.
//
// Blocks run one after the other. The threads of a block are coroutines that are switched where they
// wait for each other: at __syncthreads(), where all of a block meet, and in __shfl_down_sync(), where
// the 32 of a warp do. A thread that waits for one that has left is an error.
#include <csetjmp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <tuple>
#include <type_traits>
#include <ucontext.h>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __constant__ static
#define __forceinline__ inline
#define __noinline__
#define __align__(n) alignas(n)

using std::ceil; using std::copysign; using std::cos; using std::exp; using std::expm1; using std::fabs;
using std::floor; using std::fmod; using std::isfinite; using std::isinf; using std::isnan; using std::log;
using std::log1p; using std::logb; using std::pow; using std::signbit; using std::sin; using std::sqrt;
using std::tanh;
template <class A, class B> inline typename std::common_type<A, B>::type max(A a, B b) { return a > b ? a : b; }
template <class A, class B> inline typename std::common_type<A, B>::type min(A a, B b) { return a < b ? a : b; }

struct Dim3_ { unsigned x, y, z; };
static Dim3_ threadIdx, blockIdx, blockDim, gridDim;
static inline void __threadfence() {}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
template <class T> static inline T atomicAdd(T* p, T v) { T old = *p; *p += v; return old; }

namespace host {
enum { MOST = 1024, STACK = 1 << 16, WARP = 32 };
enum State { NEW, AT_BARRIER, IN_SHUFFLE, LEFT };
static ucontext_t contexts[MOST];
static jmp_buf threads[MOST], scheduler;
static State states[MOST];
static char shuffled[2][MOST][8];  // what each thread shows the others of its warp, this time and next
static unsigned char turn[MOST];
static char* stacks = 0;
static int current;
static std::function<void()>* body;

static void thread() { (*body)(); states[current] = LEFT; _longjmp(scheduler, 1); }
static void wait(State where) {
    states[current] = where;
    if (_setjmp(threads[current]) == 0) _longjmp(scheduler, 1);
}
static void place(unsigned t) {
    threadIdx = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
}
static void go_on(int t) {  // thread t, up to where it waits or leaves
    current = t;
    place(t);
    if (_setjmp(scheduler)) return;
    if (states[t] != NEW) _longjmp(threads[t], 1);
    getcontext(&contexts[t]);
    contexts[t].uc_stack.ss_sp = stacks + (size_t)t * STACK;
    contexts[t].uc_stack.ss_size = STACK;
    contexts[t].uc_link = 0;
    makecontext(&contexts[t], thread, 0);
    setcontext(&contexts[t]);
}
static int block(int n, bool backwards) {
    for (int t = 0; t < n; ++t) { states[t] = NEW; turn[t] = 0; }
    for (;;) {
        int left = 0, at_barrier = 0;
        for (volatile int k = 0; k < n; k = k + 1) {
            int t = backwards ? n - 1 - k : k;
            if (states[t] == NEW || states[t] == IN_SHUFFLE) go_on(t);
        }
        for (int t = 0; t < n; ++t) {
            left += states[t] == LEFT;
            at_barrier += states[t] == AT_BARRIER;
            if (states[t] != IN_SHUFFLE) continue;
            int first = t / WARP * WARP;  // all of a warp must be there
            for (int other = first; other < first + WARP; ++other)
                if (other >= n || states[other] != IN_SHUFFLE) return 1;
        }
        if (left == n) return 0;
        if (left + at_barrier < n) continue;  // some warps shuffle
        if (left) return 1;                    // the others wait for ever
        for (int t = 0; t < n; ++t) states[t] = IN_SHUFFLE;  // all have come: all go on
    }
}
static int run(const unsigned* grid, const unsigned* size, bool together, std::function<void()> kernel) {
    bool backwards = getenv("FAKECUDA_BACKWARDS") != 0;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {size[0], size[1], size[2]};
    body = &kernel;
    int n = size[0] * size[1] * size[2];
    long long blocks = (long long)grid[0] * grid[1] * grid[2];
    if (together && !stacks) stacks = (char*)malloc((size_t)MOST * STACK);
    for (long long b = 0; b < blocks; ++b) {
        long long at = backwards ? blocks - 1 - b : b;
        blockIdx = {(unsigned)(at % grid[0]), (unsigned)(at / grid[0] % grid[1]), (unsigned)(at / grid[0] / grid[1])};
        if (together) { if (block(n, backwards)) return 1; }
        else for (int t = 0; t < n; ++t) { place(backwards ? n - 1 - t : t); kernel(); }
    }
    return 0;
}
template <class... A> struct Call {
    static constexpr int sizes[] = {(int)sizeof(std::decay_t<A>)..., 0};
    template <size_t... I> static void call(void (*f)(A...), void** p, std::index_sequence<I...>) {
        f(*(std::decay_t<A>*)p[I]...);
    }
    static void go(void (*f)(A...), void** p) { call(f, p, std::index_sequence_for<A...>()); }
};
template <class... A> static void go(void (*f)(A...), void** p) { Call<A...>::go(f, p); }
template <class... A> static const int* sizes(void (*)(A...)) { return Call<A...>::sizes; }
}

static inline void __syncthreads() { host::wait(host::AT_BARRIER); }
static inline void __syncwarp(unsigned = ~0u) { host::wait(host::IN_SHUFFLE); }
template <class T> static T __shfl_down_sync(unsigned, T value, int distance) {
    int t = host::current, other = t % host::WARP + distance < host::WARP ? t + distance : t;
    auto& here = host::shuffled[host::turn[t] ^= 1];
    memcpy(here[t], &value, sizeof value);
    host::wait(host::IN_SHUFFLE);
    memcpy(&value, here[other], sizeof value);
    return value;
}
