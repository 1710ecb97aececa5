/* The declarations of KVM and libc that abi.py uses. `make generate` makes cdef.py of them: parsing
 * C at each start would take longer than the rest of the imports. */

struct kvm_one_reg { uint64_t id; uint64_t addr; };
struct kvm_reg_list { uint64_t n; uint64_t reg[]; };
struct kvm_guest_debug {
    uint32_t control, pad;
    uint64_t dbg_bcr[16], dbg_bvr[16], dbg_wcr[16], dbg_wvr[16];
};
struct kvm_userspace_memory_region {
    uint32_t slot, flags;
    uint64_t guest_phys_addr, memory_size, userspace_addr;
};
struct kvm_vcpu_init { uint32_t target; uint32_t features[7]; };
struct kvm_create_device { uint32_t type, fd, flags; };
struct kvm_device_attr { uint32_t flags, group; uint64_t attr, addr; };
struct kvm_irq_level { uint32_t irq, level; };
struct kvm_enable_cap { uint32_t cap, flags; uint64_t args[4]; uint8_t pad[64]; };
struct kvm_mp_state { uint32_t mp_state; };
struct kvm_vcpu_events {
    uint8_t serror_pending, serror_has_esr, ext_dabt_pending, pad[5];
    uint64_t serror_esr;
    uint32_t reserved[12];
};
struct kvm_arm_copy_mte_tags { uint64_t guest_ipa, length, addr, flags, reserved[2]; };
struct kvm_run {
    uint8_t request_interrupt_window, immediate_exit, padding1[6];
    uint32_t exit_reason;
    uint8_t ready_for_interrupt_injection, if_flag;
    uint16_t flags;
    uint64_t cr8, apic_base;
    union {
        struct { uint64_t hardware_entry_failure_reason; uint32_t cpu; } fail_entry;
        struct { uint32_t suberror, ndata; uint64_t data[16]; } internal;
        struct { uint32_t hsr, hsr_high; uint64_t far; } debug;
        struct { uint64_t phys_addr; uint8_t data[8]; uint32_t len; uint8_t is_write; } mmio;
        struct { uint32_t type, ndata; uint64_t data[16]; } system_event;
        struct { uint64_t esr_iss, fault_ipa; } arm_nisv;
        char padding[256];
    };
    uint64_t valid_regs, dirty_regs;
    uint64_t device_irq_level; /* of struct kvm_sync_regs */
};
int ioctl(int fd, unsigned long request, void *argument);
int prctl(int option, unsigned long argument2, unsigned long argument3, unsigned long argument4,
          unsigned long argument5);
long syscall(long number, unsigned long argument1, unsigned long argument2, void *argument3);
typedef void (*sighandler_t)(int);
sighandler_t signal(int signum, sighandler_t handler);
int abs(int number);

/* linux/filter.h */
struct sock_fprog {
    unsigned short len;
    void *filter;
};
