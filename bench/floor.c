/* The floor: what a stub costs that is written in C and does only what the benches ask of it.
 *
 *   floor PORT GUEST
 *
 * One vCPU and one thread, which reads packets, runs the guest and writes stop replies. A packet of
 * a client ends KVM_RUN by a signal. BRKs are written and taken back when a client says so. It
 * checks nothing: no address, no error of KVM's after the start, no guest's own exception. The stub
 * of this project does all that; the difference between the two is what that and Python cost.
 */
#define _GNU_SOURCE /* F_SETOWN_EX */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RAM 0x40000000ul
#define RAM_SIZE (512ul << 20)
#define BRK 0xd4200000u

/* Registers by GDB's number: x0 to x30, sp, pc, cpsr. A core register's id counts 32-bit words. */
#define CORE (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE)
enum { SP = 31, PC = 32, CPSR = 33, REGISTERS = 34 };
enum { SIGNAL_INTERRUPT = 2, SIGNAL_TRAP = 5 };

static int vcpu, client;
static struct kvm_run *run;
static unsigned char *ram;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int check(int result, const char *what)
{
    if (result < 0)
        fail(what);
    return result;
}

/* --- the vCPU --- */

static unsigned long register_id(int number)
{
    static const int above[] = {[SP - SP] = 68, [PC - SP] = 64, [CPSR - SP] = 66}; /* SP_EL1 */
    return CORE | (number < SP ? 2 * number : above[number - SP]);
}

static unsigned long get_register(int number)
{
    unsigned long value;
    struct kvm_one_reg one = {register_id(number), (unsigned long)&value};
    ioctl(vcpu, KVM_GET_ONE_REG, &one);
    return value;
}

static void set_register(int number, unsigned long value)
{
    struct kvm_one_reg one = {register_id(number), (unsigned long)&value};
    ioctl(vcpu, KVM_SET_ONE_REG, &one);
}

static int register_size(int number)
{
    return number == CPSR ? 4 : 8;
}

static void create_vcpu(void)
{
    int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
    int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    struct kvm_vcpu_init init;
    ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = RAM, .memory_size = RAM_SIZE, .userspace_addr = (unsigned long)ram};
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    check(ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init), "KVM_ARM_PREFERRED_TARGET");
    init.features[0] |= 1 << KVM_ARM_VCPU_PSCI_0_2;
    check(ioctl(vcpu, KVM_ARM_VCPU_INIT, &init), "KVM_ARM_VCPU_INIT");
    int size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
}

static void load(const char *path)
{
    struct stat status;
    int file = check(open(path, O_RDONLY), path);
    check(fstat(file, &status), path);
    unsigned char *elf = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    Elf64_Ehdr *header = (Elf64_Ehdr *)elf;
    Elf64_Phdr *segment = (Elf64_Phdr *)(elf + header->e_phoff);
    for (int i = 0; i < header->e_phnum; i++, segment++) {
        if (segment->p_type != PT_LOAD)
            continue;
        unsigned char *at = ram + (segment->p_paddr - RAM);
        memcpy(at, elf + segment->p_offset, segment->p_filesz);
        __builtin___clear_cache(at, at + segment->p_filesz);
    }
    set_register(PC, header->e_entry);
}

/* --- breakpoints --- */

#define BREAKPOINTS 1024
static struct {
    unsigned long address; /* 0: free */
    unsigned original;
} breakpoints[BREAKPOINTS];

static void write_word(unsigned long address, unsigned word)
{
    unsigned char *at = ram + (address - RAM);
    memcpy(at, &word, sizeof word);
    __builtin___clear_cache(at, at + sizeof word);
}

static int find_breakpoint(unsigned long address)
{
    for (int i = 0; i < BREAKPOINTS; i++)
        if (breakpoints[i].address == address)
            return i;
    return -1;
}

static void insert_breakpoint(unsigned long address)
{
    int i = find_breakpoint(0);
    if (i < 0 || find_breakpoint(address) >= 0)
        return;
    breakpoints[i].address = address;
    memcpy(&breakpoints[i].original, ram + (address - RAM), sizeof breakpoints[i].original);
    write_word(address, BRK);
}

static void remove_breakpoint(unsigned long address)
{
    int i = find_breakpoint(address);
    if (i < 0)
        return;
    write_word(address, breakpoints[i].original);
    breakpoints[i].address = 0;
}

/* --- packets as text --- */

static char *put_hex(char *to, const void *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *byte = data;
    while (size--) {
        *to++ = digits[*byte >> 4];
        *to++ = digits[*byte++ & 15];
    }
    return to;
}

static char *put_escaped(char *to, const unsigned char *data, size_t size)
{
    for (; size; size--, data++) {
        if (*data == '$' || *data == '#' || *data == '}' || *data == '*') {
            *to++ = '}';
            *to++ = *data ^ 0x20;
        } else {
            *to++ = *data;
        }
    }
    return to;
}

static char frame[1 << 19];              /* a reply as it is sent */
static char *const payload = frame + 1;  /* its payload, which the handlers write */

static void send_reply(char *end)
{
    unsigned char sum = 0;
    frame[0] = '$';
    for (char *at = payload; at < end; at++)
        sum += *at;
    end += sprintf(end, "#%02x", sum);
    if (write(client, frame, end - frame) != end - frame)
        fail("write");
}

static void send_text(const char *text)
{
    send_reply(stpcpy(payload, text));
}

static char *put_register(char *to, int number)
{
    unsigned long value = get_register(number);
    return put_hex(to, &value, register_size(number));
}

/* --- running --- */

/* With immediate_exit a KVM_RUN that begins after the signal returns at once. */
static void end_run(int number)
{
    (void)number;
    run->immediate_exit = 1;
}

static void set_guest_debug(int step)
{
    static int before = -1;
    struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP};
    if (step == before)
        return;
    if (step)
        debug.control |= KVM_GUESTDBG_SINGLESTEP;
    ioctl(vcpu, KVM_SET_GUEST_DEBUG, &debug);
    before = step;
}

/* Whether bytes of the client raise SIGIO. */
static void set_signals(int on)
{
    fcntl(client, F_SETFL, on ? O_ASYNC : 0);
}

static int run_guest(int step)
{
    set_guest_debug(step);
    do {
        if (ioctl(vcpu, KVM_RUN, 0) < 0) {
            run->immediate_exit = 0;
            return SIGNAL_INTERRUPT;
        }
    } while (run->exit_reason != KVM_EXIT_DEBUG);
    return SIGNAL_TRAP;
}

static void resume(int step)
{
    static const int expedited[] = {29, 30, SP, PC, CPSR};
    int stop = SIGNAL_TRAP;
    if (step) {
        run_guest(1);
    } else {
        struct pollfd arrived = {client, POLLIN, 0};
        char interrupt;
        set_signals(1);
        if (poll(&arrived, 1, 0) > 0) /* before the signals were on */
            run->immediate_exit = 1;
        stop = run_guest(0);
        set_signals(0);
        if (stop == SIGNAL_INTERRUPT && read(client, &interrupt, 1) != 1)
            exit(0);
    }
    char *end = payload + sprintf(payload, "T%02xthread:1;", stop);
    for (size_t i = 0; i < sizeof expedited / sizeof *expedited; i++) {
        end += sprintf(end, "%02x:", expedited[i]);
        end = put_register(end, expedited[i]);
        *end++ = ';';
    }
    send_reply(end);
}

/* --- packets --- */

static void read_memory(char kind, const char *arguments)
{
    unsigned long address, size;
    char *end = payload;
    sscanf(arguments, "%lx,%lx", &address, &size);
    if (kind == 'm') {
        end = put_hex(end, ram + (address - RAM), size);
    } else {
        *end++ = 'b';
        end = put_escaped(end, ram + (address - RAM), size);
    }
    send_reply(end);
}

static int starts_with(const char *packet, const char *prefix)
{
    return !strncmp(packet, prefix, strlen(prefix));
}

static void handle(const char *packet)
{
    char *end = payload;
    if (starts_with(packet, "vCont;s")) {
        resume(1);
    } else if (starts_with(packet, "vCont;c")) {
        resume(0);
    } else if (*packet == 'p') {
        send_reply(put_register(end, strtoul(packet + 1, NULL, 16)));
    } else if (*packet == 'g') {
        for (int number = 0; number < REGISTERS; number++)
            end = put_register(end, number);
        send_reply(end);
    } else if (*packet == 'm' || *packet == 'x') {
        read_memory(*packet, packet + 1);
    } else if (starts_with(packet, "Z0,")) {
        insert_breakpoint(strtoul(packet + 3, NULL, 16));
        send_text("OK");
    } else if (starts_with(packet, "z0,")) {
        remove_breakpoint(strtoul(packet + 3, NULL, 16));
        send_text("OK");
    } else if (starts_with(packet, "qSupported")) {
        send_text("PacketSize=20000;QStartNoAckMode+;binary-upload+;vContSupported+");
    } else if (starts_with(packet, "QStartNoAckMode")) {
        send_text("OK");
    } else if (starts_with(packet, "qXfer:features:read")) {
        send_text("l");
    } else {
        send_text("");
    }
}

/* Serve one client, without acks but for those that it waits for. */
static void serve(void)
{
    static char bytes[1 << 14];
    size_t size = 0;
    int acks = 1;
    for (;;) {
        ssize_t got = read(client, bytes + size, sizeof bytes - 1 - size);
        if (got <= 0)
            return;
        size += got;
        bytes[size] = 0;
        char *dollar, *hash;
        while ((dollar = memchr(bytes, '$', size)) &&
               (hash = memchr(dollar, '#', bytes + size - dollar)) && hash + 3 <= bytes + size) {
            *hash = 0;
            if (acks && write(client, "+", 1) != 1)
                return;
            if (starts_with(dollar + 1, "QStartNoAckMode"))
                acks = 0;
            handle(dollar + 1);
            size = bytes + size - (hash + 3);
            memmove(bytes, hash + 3, size);
        }
        if (!dollar)
            size = 0; /* acks, or a 0x03 that came too late */
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("floor PORT GUEST\n", stderr);
        return 2;
    }
    create_vcpu();
    load(argv[2]);
    struct sigaction action = {.sa_handler = end_run};
    sigaction(SIGIO, &action, NULL);
    struct sockaddr_in address = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_ANY)}, {0}};
    int on = 1, listener = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    check(bind(listener, (struct sockaddr *)&address, sizeof address), "bind");
    check(listen(listener, 1), "listen");
    for (;;) {
        client = check(accept(listener, NULL, NULL), "accept");
        struct f_owner_ex owner = {F_OWNER_TID, gettid()};
        fcntl(client, F_SETOWN_EX, &owner);
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        serve();
        close(client);
    }
}
