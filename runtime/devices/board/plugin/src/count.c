// Counts the instructions of an emulated 64-bit ARM program between marks that the program sets.
//
//     N = sum over executed blocks b of |b|
//
// QEMU translates a program in blocks without a branch inside, so a block's counts are made once, when it is
// translated, and added whenever it runs. A mark is the system call prctl(kMark, number), which every kernel
// refuses and which ends a block: at a mark, everything before it is counted and nothing behind it. Each mark adds
// a line to the file `counts.txt` in the working folder:
//
//     number  all  dot products  vector and floating point  loads and stores
//
// The classes are bits of the instruction's word (Arm Architecture Reference Manual for A-profile, C4.1, top-level
// encodings of A64): bits 27 and 25 are 1 and 0 for loads and stores, bits 27 to 25 are 111 for scalar floating
// point and vectors. Dot products (SDOT, UDOT, of vectors and by element) are among the vectors.
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qemu.h"

#define EXPORT __attribute__((visibility("default")))

enum { kAll, kDots, kVectors, kMemory, kClasses };

static const int64_t kPrctl = 167;  // in the kernel's table for 64-bit ARM
static const uint64_t kMark = 0x65706b6d;
// A thread of the program each; those beyond share.
enum { kMostThreads = 256 };

EXPORT int qemu_plugin_version = EDGEPACK_INTERFACE;

static uint64_t counted[kMostThreads][kClasses];
static bool copies;  // how qemu_plugin_insn_data hands the word over

static uint32_t word_of(const struct qemu_plugin_insn* instruction) {
  uint32_t word = 0;
  if (copies) {
    qemu_plugin_insn_data_copied(instruction, &word, sizeof word);
  } else {
    memcpy(&word, qemu_plugin_insn_data_shown(instruction), sizeof word);
  }
  return word;
}

static bool is_dot_product(uint32_t word) {
  const bool of_vectors = (word & 0x9fe0fc00) == 0x0e809400;
  const bool by_element = (word & 0x9fc0f400) == 0x0f80e000;
  return of_vectors || by_element;
}

static void executed(unsigned int vcpu, void* data) {
  const uint32_t* block = data;
  uint64_t* mine = counted[vcpu % kMostThreads];
  for (int kind = 0; kind < kClasses; ++kind) mine[kind] += block[kind];
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
  (void)id;
  // Kept to the program's end: QEMU does not tell when it forgets a block.
  uint32_t* counts = calloc(kClasses, sizeof *counts);
  if (counts == NULL) abort();
  const size_t length = qemu_plugin_tb_n_insns(block);
  for (size_t index = 0; index < length; ++index) {
    const uint32_t word = word_of(qemu_plugin_tb_get_insn(block, index));
    counts[kAll] += 1;
    counts[kDots] += is_dot_product(word);
    counts[kVectors] += ((word >> 25) & 7) == 7;
    counts[kMemory] += ((word >> 25) & 5) == 4;
  }
  qemu_plugin_register_vcpu_tb_exec_cb(block, executed, QEMU_PLUGIN_CB_NO_REGS, counts);
}

static void called(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1, uint64_t a2, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)vcpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number != kPrctl || a1 != kMark) return;
  unsigned long long sums[kClasses] = {0};
  for (int thread = 0; thread < kMostThreads; ++thread) {
    for (int kind = 0; kind < kClasses; ++kind) sums[kind] += counted[thread][kind];
  }
  char line[128];
  const int length = snprintf(line, sizeof line, "%llu %llu %llu %llu %llu\n", (unsigned long long)a2, sums[kAll],
                              sums[kDots], sums[kVectors], sums[kMemory]);
  // Opened anew for each mark: no descriptor of ours is left open in the program's process.
  const int file = open("counts.txt", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0 || write(file, line, (size_t)length) != length || close(file) != 0) {
    fprintf(stderr, "the counts cannot be written\n");
    _exit(1);
  }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int count, char** words) {
  (void)count, (void)words;
  if (strcmp(info->target_name, "aarch64") != 0) {
    fprintf(stderr, "edgepack counts instructions of 64-bit ARM, not of %s\n", info->target_name);
    return 1;
  }
  copies = info->version.cur >= 3;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
