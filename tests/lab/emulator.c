/* A line between two network namespaces: two TUN devices and a program between them that holds every packet back.
 *
 *   emulator NAMESPACE DEVICE NAMESPACE DEVICE
 *
 * Each direction ("forward" = first to second, "back") has, in this order: random loss, a bottleneck with a tail-drop
 * queue and a token bucket, and a delay. It prints "ready" when both devices exist, then takes commands on its standard
 * input, each answered by lines of which the last is "ok" or "error WHY":
 *
 *   set forward|back|both [rate=BIT/S] [queue=BYTES] [burst=BYTES] [overhead=BYTES] [delay=US] [jitter=US] [loss=0..1]
 *       rate 0 = no bottleneck; overhead is counted on top of every packet's IP length; jitter is up to so much more
 *       delay, at random and in order. What waits in the queue is timed anew.
 *   cut forward|back|both      from now on nothing comes through, and what was under way is gone
 *   heal forward|back|both
 *   seed NUMBER                of the loss and jitter of both directions
 *   stats                      one line for each direction; taken = packets + dropped + lost + cut + waiting
 *
 * On SIGTERM, SIGINT or the end of its input it prints one line for each direction, in microseconds, about how much
 * longer than wanted it held the packets, and ends:
 *
 *   forward packets=1200 dropped=0 over_p50=8.1 over_p99=31.5 over_max=90.2
 *
 * netem does this inside the kernel; this is for kernels without it. One thread at real-time priority, so that a busy
 * machine hardly shows; it needs root for that and for the devices.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 32768 /* packets under way in each direction */
#define LARGEST 1600
#define SAMPLES 1000000 /* packets whose holding time is remembered */
/* Few packets are timed to the microsecond: nanoseconds before one is due in which we no longer sleep. Past BUSY packets
 * in a millisecond we look every NAP nanoseconds only: a thread that never sleeps is held back 50 ms of every second
 * (sched_rt_runtime_us), which would be felt as 5 % of the rate. */
#define SPIN 60000
#define BUSY 6
#define NAP 50000
#define BATCH 64 /* packets taken from one side before the other has its turn */

struct packet {
    int64_t sent, due; /* when it has passed the bottleneck, and the whole line */
    int length;
    unsigned char bytes[LARGEST];
};

struct line {
    const char *name;
    int in, out;
    struct packet *ring;
    unsigned head, tail;
    int cut;
    double rate, queue, burst, overhead, delay, jitter, loss; /* bit/s, bytes, nanoseconds */
    int64_t free_at; /* when the bucket is full again, were nothing more to come */
    int64_t last_due;
    int64_t taken, packets, bytes, dropped, lost, cut_off;
    float *over;
};

static volatile sig_atomic_t ended;
static uint64_t chance = 1;

static void end(int signal_number) { (void)signal_number; ended = 1; }

static void die(const char *what) {
    fprintf(stderr, "emulator: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static double draw(void) { /* splitmix64, in [0, 1) */
    uint64_t z = (chance += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return ((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
}

static int tun(const char *namespace, const char *device) {
    char path[256];
    struct ifreq request;
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int place = open(path, O_RDONLY | O_CLOEXEC);
    if (place < 0 || setns(place, CLONE_NEWNET) < 0) die(path);
    close(place);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) die("/dev/net/tun");
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    strncpy(request.ifr_name, device, IFNAMSIZ - 1);
    if (ioctl(fd, TUNSETIFF, &request) < 0) die(device);
    return fd;
}

/* When the packet leaves the bottleneck, or -1: the queue is full. The bucket is kept as the time at which it is full. */
static int64_t pass(struct line *line, int64_t arrived, int length) {
    if (line->rate <= 0) return arrived;
    double per_byte = 8e9 / line->rate;
    int64_t bucket = (int64_t)(line->burst * per_byte), full = line->free_at > arrived ? line->free_at : arrived;
    int64_t wait = full - bucket - arrived;
    if (wait > 0 && wait / per_byte + length > line->queue) return -1;
    full += (int64_t)((length + line->overhead) * per_byte);
    if (wait <= 0 && full - bucket > arrived && length > line->queue) return -1;
    line->free_at = full;
    return full - bucket > arrived ? full - bucket : arrived;
}

static void time_it(struct line *line, struct packet *packet) {
    packet->due = packet->sent + (int64_t)(line->delay + (line->jitter > 0 ? draw() * line->jitter : 0));
    if (packet->due < line->last_due) packet->due = line->last_due;
    line->last_due = packet->due;
}

static void take(struct line *line) {
    for (int i = 0; i < BATCH && line->tail - line->head < SLOTS; i++) {
        struct packet *packet = &line->ring[line->tail % SLOTS];
        packet->length = (int)read(line->in, packet->bytes, LARGEST);
        if (packet->length <= 0) return;
        line->taken++;
        if (line->cut) {
            line->cut_off++;
        } else if (line->loss > 0 && draw() < line->loss) {
            line->lost++;
        } else if ((packet->sent = pass(line, now(), packet->length)) < 0) {
            line->dropped++;
        } else {
            time_it(line, packet);
            line->tail++;
        }
    }
}

static int64_t slice; /* the millisecond */
static int in_slice, in_last_slice; /* packets delivered */

static int busy(int64_t moment) {
    if (moment / 1000000 != slice) {
        in_last_slice = moment / 1000000 == slice + 1 ? in_slice : 0;
        in_slice = 0;
        slice = moment / 1000000;
    }
    return in_slice > BUSY || in_last_slice > BUSY;
}

static void deliver(struct line *line) {
    while (line->head != line->tail) {
        struct packet *packet = &line->ring[line->head % SLOTS];
        int64_t moment = now();
        if (moment < packet->due) return;
        line->head++;
        in_slice++;
        if (write(line->out, packet->bytes, packet->length) < 0) { /* the device is not up: nobody is there */
            line->cut_off++;
            continue;
        }
        if (line->packets < SAMPLES) line->over[line->packets] = (moment - packet->due) / 1000.0f;
        line->packets++;
        line->bytes += packet->length;
    }
    line->head = line->tail = 0; /* the same few slots again: they are in the cache */
}

/* After a change: what has not left the bottleneck yet leaves it at the new rate. */
static void retime(struct line *line, double old_rate) {
    int64_t moment = now(), owed = line->free_at > moment ? line->free_at - moment : 0;
    int fresh = 0;
    line->last_due = 0;
    for (unsigned i = line->head; i != line->tail; i++) {
        struct packet *packet = &line->ring[i % SLOTS];
        if (packet->sent > moment) {
            if (!fresh++) line->free_at = moment + (line->rate > 0 ? (int64_t)(line->burst * 8e9 / line->rate) : 0);
            if (line->rate > 0) line->free_at += (int64_t)((packet->length + line->overhead) * 8e9 / line->rate);
            packet->sent = line->rate > 0 ? line->free_at - (int64_t)(line->burst * 8e9 / line->rate) : moment;
        }
        time_it(line, packet);
    }
    if (!fresh) line->free_at = moment + (line->rate > 0 ? (int64_t)(owed * old_rate / line->rate) : 0);
}

static const char *set(struct line *line, char *words) {
    static const char *names[] = {"rate=", "queue=", "burst=", "overhead=", "delay=", "jitter=", "loss="};
    double *places[] = {&line->rate, &line->queue, &line->burst, &line->overhead, &line->delay, &line->jitter, &line->loss};
    double old_rate = line->rate;
    char *save = NULL;
    for (char *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        int known = 0;
        for (int i = 0; i < 7; i++) {
            size_t length = strlen(names[i]);
            if (strncmp(word, names[i], length)) continue;
            char *rest;
            double value = strtod(word + length, &rest);
            if (*rest || rest == word + length || value < 0 || value > 1e15) return "expected a number that is not negative";
            *places[i] = i == 4 || i == 5 ? value * 1000 : value;
            known = 1;
        }
        if (!known) return "unknown setting";
    }
    retime(line, old_rate);
    return NULL;
}

static void stats(const struct line *line) {
    printf("%s taken=%lld packets=%lld bytes=%lld dropped=%lld lost=%lld cut=%lld waiting=%u\n", line->name,
           (long long)line->taken, (long long)line->packets, (long long)line->bytes, (long long)line->dropped,
           (long long)line->lost, (long long)line->cut_off, line->tail - line->head);
}

static void obey(struct line *lines, char *words) {
    char *rest = words + strcspn(words, " ");
    if (*rest) *rest++ = 0;
    const char *wrong = NULL;
    if (!strcmp(words, "stats")) {
        stats(&lines[0]);
        stats(&lines[1]);
    } else if (!strcmp(words, "seed")) {
        chance = strtoull(rest, NULL, 10);
    } else {
        char *more = rest + strcspn(rest, " "), copy[512];
        if (*more) *more++ = 0;
        if (strcmp(rest, "forward") && strcmp(rest, "back") && strcmp(rest, "both")) wrong = "unknown command or direction";
        for (int i = 0; i < 2 && !wrong; i++) {
            if (strcmp(rest, "both") && strcmp(rest, lines[i].name)) continue;
            snprintf(copy, sizeof copy, "%s", more);
            if (!strcmp(words, "set")) wrong = set(&lines[i], copy);
            else if (!strcmp(words, "heal")) lines[i].cut = 0;
            else if (!strcmp(words, "cut")) {
                lines[i].cut = 1;
                lines[i].cut_off += lines[i].tail - lines[i].head;
                lines[i].head = lines[i].tail = 0;
                lines[i].free_at = 0;
            } else wrong = "unknown command";
        }
    }
    if (wrong) printf("error %s\n", wrong);
    else printf("ok\n");
    fflush(stdout);
}

static void listen_to(struct line *lines) {
    static char text[2048];
    static size_t held;
    ssize_t got = read(0, text + held, sizeof text - 1 - held);
    if (got <= 0) {
        if (got == 0 || (errno != EINTR && errno != EAGAIN)) ended = 1;
        return;
    }
    held += got;
    for (char *stop; (stop = memchr(text, '\n', held));) {
        *stop = 0;
        obey(lines, text);
        held -= stop + 1 - text;
        memmove(text, stop + 1, held);
    }
    if (held == sizeof text - 1) held = 0;
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void tell(struct line *line) {
    int64_t count = line->packets < SAMPLES ? line->packets : SAMPLES;
    qsort(line->over, count, sizeof *line->over, ascending);
    printf("%s packets=%lld dropped=%lld", line->name, (long long)line->packets, (long long)line->dropped);
    if (count)
        printf(" over_p50=%.1f over_p99=%.1f over_max=%.1f", line->over[count / 2], line->over[count * 99 / 100],
               line->over[count - 1]);
    printf("\n");
}

int main(int count, char **words) {
    if (count != 5) {
        fprintf(stderr, "usage: emulator NAMESPACE DEVICE NAMESPACE DEVICE\n");
        return 2;
    }
    int left = tun(words[1], words[2]), right = tun(words[3], words[4]);
    struct line lines[2] = {{.name = "forward", .in = left, .out = right}, {.name = "back", .in = right, .out = left}};
    for (int i = 0; i < 2; i++) {
        lines[i].ring = calloc(SLOTS, sizeof(struct packet));
        lines[i].over = calloc(SAMPLES, sizeof(float));
        if (!lines[i].ring || !lines[i].over) die("memory");
    }
    struct sched_param priority = {.sched_priority = 50};
    if (sched_setscheduler(0, SCHED_FIFO, &priority) < 0) fprintf(stderr, "emulator: no real-time priority\n");
    mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    printf("ready\n");
    fflush(stdout);
    while (!ended) {
        struct pollfd wanted[3] = {{.fd = 0, .events = POLLIN}, {.fd = left, .events = POLLIN}, {.fd = right, .events = POLLIN}};
        int64_t wait = 1000000000, moment = now();
        int hurried = busy(moment);
        for (int i = 0; i < 2 && !hurried; i++)
            if (lines[i].head != lines[i].tail) {
                int64_t rest = lines[i].ring[lines[i].head % SLOTS].due - moment - SPIN;
                if (rest < wait) wait = rest < 0 ? 0 : rest;
            }
        if (hurried) wait = NAP;
        struct timespec limit = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
        if (ppoll(wanted, hurried ? 1 : 3, &limit, NULL) < 0) continue;
        for (int i = 0; i < 2; i++) {
            if (hurried || wanted[i + 1].revents & POLLIN) take(&lines[i]);
            deliver(&lines[i]);
        }
        if (wanted[0].revents) listen_to(lines);
    }
    tell(&lines[0]);
    tell(&lines[1]);
    return 0;
}
