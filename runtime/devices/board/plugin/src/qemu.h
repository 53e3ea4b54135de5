// What this plugin needs of QEMU's plugin interface, declared here because few systems ship its header.
//
// Names and types are those of the interface's documentation (qemu.org, "QEMU TCG Plugins"). The functions used
// are alike in versions 1 to 5 but one: from version 3 on, qemu_plugin_insn_data copies what it gave a pointer to.
#ifndef EDGEPACK_QEMU_H_
#define EDGEPACK_QEMU_H_

#include <stddef.h>
#include <stdint.h>

typedef uint64_t qemu_plugin_id_t;

// The beginning of what QEMU hands to a plugin; what follows is not read.
typedef struct {
  const char* target_name;
  struct {
    int min;
    int cur;
  } version;
} qemu_info_t;

struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_CB_RW_REGS };

typedef void (*qemu_plugin_vcpu_tb_trans_cb_t)(qemu_plugin_id_t id, struct qemu_plugin_tb* block);
typedef void (*qemu_plugin_vcpu_udata_cb_t)(unsigned int vcpu, void* data);
typedef void (*qemu_plugin_vcpu_syscall_cb_t)(qemu_plugin_id_t id, unsigned int vcpu, int64_t number, uint64_t a1,
                                              uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                                              uint64_t a7, uint64_t a8);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_tb_trans_cb_t call);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb* block, qemu_plugin_vcpu_udata_cb_t call,
                                          enum qemu_plugin_cb_flags flags, void* data);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_syscall_cb_t call);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb* block, size_t index);
// One symbol; which of the two it is depends on the version.
const void* qemu_plugin_insn_data_shown(const struct qemu_plugin_insn* instruction) __asm__("qemu_plugin_insn_data");
size_t qemu_plugin_insn_data_copied(const struct qemu_plugin_insn* instruction, void* target,
                                    size_t size) __asm__("qemu_plugin_insn_data");

#endif
