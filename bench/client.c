/* A client that only measures: it runs inside the lab beside the stub, and prints numbers.
 *
 *   client PORT rounds SECONDS|COUNTx PACKET... -- PACKET... -- PACKET...
 *       the packets before, those of a round, those after: rounds and nanoseconds
 *   client PORT interrupt COUNT
 *       from 0x03 to the stop reply: the nanoseconds of each
 *   client PORT dump ADDRESS TOTAL CHUNK
 *       read memory, by x where the stub offers it: bytes and nanoseconds
 *   client PORT start COMMAND...
 *       from a process's start to where it listens: nanoseconds
 *   client PORT listening
 *       wait until somebody does
 *   client PORT free
 *       wait until nobody does
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int server;
static int acks = 1, binary; /* as the stub offers, and a modern client takes it */
static char got[1 << 20];    /* what was received and not looked at yet */
static size_t begin, end;
static char reply[1 << 20];

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

static unsigned long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void fill(void)
{
    ssize_t n = read(server, got, sizeof got);
    if (n <= 0)
        fail("the stub has closed the connection");
    begin = 0;
    end = n;
}

static int get(void)
{
    if (begin == end)
        fill();
    return (unsigned char)got[begin++];
}

static void put(const char *data, size_t size)
{
    if (write(server, data, size) != (ssize_t)size)
        fail("cannot send");
}

static void send_packet(const char *packet)
{
    static char frame[4096];
    unsigned char sum = 0;
    for (const char *at = packet; *at; at++)
        sum += *at;
    put(frame, snprintf(frame, sizeof frame, "$%s#%02x", packet, sum));
}

/* A frame's length; it lies in reply, escapes as they came. */
static size_t receive(void)
{
    size_t size = 0;
    char *hash;
    while (get() != '$')
        ;
    do { /* whole pieces: a byte at a time would be most of what a dump takes */
        if (begin == end)
            fill();
        hash = memchr(got + begin, '#', end - begin);
        size_t piece = hash ? (size_t)(hash - got) - begin : end - begin;
        if (size + piece >= sizeof reply)
            fail("a reply is too long");
        memcpy(reply + size, got + begin, piece);
        size += piece;
        begin += piece;
    } while (!hash);
    get(), get(), get();
    reply[size] = 0;
    if (acks)
        put("+", 1);
    return size;
}

static size_t ask(const char *packet)
{
    send_packet(packet);
    size_t size = receive();
    int resumes = !strncmp(packet, "vCont;", 6);
    if (!size || *reply == 'E' || (resumes && *reply != 'T'))
        fail("%s is answered with \"%s\"", packet, reply);
    return size;
}

static void connect_to(int port)
{
    struct sockaddr_in address = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    int on = 1;
    server = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(server, (struct sockaddr *)&address, sizeof address))
        fail("nobody listens at port %d", port);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Nobody is connected to: a stub would take notice. The port can be bound, too, until somebody
 * listens there; and to try costs next to nothing, so that a start can be timed by it. */
static int listening(int port)
{
    struct sockaddr_in address = {AF_INET, htons(port), {htonl(INADDR_ANY)}, {0}};
    int on = 1, probe = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int bound = !bind(probe, (struct sockaddr *)&address, sizeof address);
    close(probe);
    return !bound;
}

static void wait_until_listening(int port, pid_t child)
{
    for (int turns = 0; !listening(port); turns++) {
        usleep(1000);
        if (turns == 60 * 1000)
            fail("nobody listens at port %d after a minute", port);
        if (child && waitpid(child, NULL, WNOHANG))
            fail("the command has ended");
    }
}

static void greet(int port)
{
    connect_to(port);
    put("+", 1);
    ask("qSupported:swbreak+;hwbreak+;vContSupported+");
    binary = strstr(reply, "binary-upload+") != NULL;
    if (strstr(reply, "QStartNoAckMode+")) {
        ask("QStartNoAckMode");
        acks = 0;
    }
    ask("qXfer:features:read:target.xml:0,ffb"); /* QEMU answers no p before it */
}

/* "*COUNT@ADDRESS FORMAT" is a packet for each of COUNT addresses, 4 bytes apart. */
static void ask_all(const char *pattern)
{
    unsigned long address;
    int count, format;
    char packet[128];
    if (sscanf(pattern, "*%d@%lx %n", &count, &address, &format) < 2) {
        ask(pattern);
        return;
    }
    for (int i = 0; i < count; i++) {
        snprintf(packet, sizeof packet, pattern + format, address + 4 * i);
        ask(packet);
    }
}

static char **until_dashes(char **argv)
{
    while (*argv && strcmp(*argv, "--"))
        ask_all(*argv++);
    return *argv ? argv + 1 : argv;
}

static void rounds(char **argv)
{
    char *unit;
    double limit = strtod(*argv++, &unit);
    unsigned long long start, taken;
    unsigned long done = 0;
    char **round = until_dashes(argv), **after;
    start = now();
    do {
        after = until_dashes(round);
        done++;
        taken = now() - start;
    } while (*unit ? done < limit : taken < limit * 1e9);
    printf("%lu %llu\n", done, taken);
    until_dashes(after);
}

static void interrupt(int count)
{
    while (count--) {
        send_packet("vCont;c");
        usleep(50000); /* until every vCPU has had its turn on the lab's one core */
        unsigned long long start = now();
        put("\3", 1);
        receive();
        printf("%llu ", now() - start);
        if (*reply != 'T')
            fail("0x03 is answered with \"%s\"", reply);
    }
    putchar('\n');
}

static void dump(unsigned long address, unsigned long total, unsigned long chunk)
{
    unsigned long long start = now();
    unsigned long read = 0;
    char packet[64];
    while (read < total) {
        snprintf(packet, sizeof packet, "%c%lx,%lx", binary ? 'x' : 'm', address + read, chunk);
        size_t size = ask(packet);
        if (binary) {
            char *at = reply, *end = reply + size;
            size--; /* the b before it */
            while ((at = memchr(at, '}', end - at))) {
                at += 2;
                size--;
            }
        } else {
            size /= 2;
        }
        read += size;
    }
    printf("%lu %llu\n", read, now() - start);
}

static void start(int port, char **argv)
{
    unsigned long long start = now(), taken;
    pid_t child = fork();
    if (!child) {
        execvp(*argv, argv);
        fail("%s: %s", *argv, strerror(errno));
    }
    wait_until_listening(port, child);
    taken = now() - start;
    kill(child, SIGTERM);
    waitpid(child, NULL, 0);
    printf("%llu\n", taken);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        fail("see the source");
    int port = atoi(argv[1]);
    if (!strcmp(argv[2], "listening")) {
        wait_until_listening(port, 0);
        return 0;
    }
    if (!strcmp(argv[2], "free")) {
        while (listening(port))
            usleep(20000);
        return 0;
    }
    if (!strcmp(argv[2], "start")) {
        start(port, argv + 3);
        return 0;
    }
    greet(port);
    if (!strcmp(argv[2], "rounds"))
        rounds(argv + 3);
    else if (!strcmp(argv[2], "interrupt"))
        interrupt(atoi(argv[3]));
    else
        dump(strtoul(argv[3], 0, 0), strtoul(argv[4], 0, 0), strtoul(argv[5], 0, 0));
    return 0;
}
