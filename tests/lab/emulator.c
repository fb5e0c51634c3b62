/* A line between two network namespaces: two TUN devices and a program between them that holds every packet back.
 *
 *   emulator NAMESPACE DEVICE NAMESPACE DEVICE DELAY_US [RATE_BITS_PER_SECOND QUEUE_BYTES]
 *
 * Each direction delays a packet by DELAY_US microseconds after it has passed a bottleneck of RATE (0 = none) with a
 * tail-drop queue of QUEUE_BYTES before it. Prints "ready" when both devices exist. On SIGTERM or SIGINT it prints one
 * line for each direction, in microseconds, about how much longer than wanted it held the packets, and ends:
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

#define SLOTS 16384 /* packets under way in each direction */
#define LARGEST 1600
#define SAMPLES 1000000 /* packets whose holding time is remembered */
#define SPIN 60000 /* nanoseconds before a packet is due in which we no longer sleep */

struct packet {
    int64_t arrived, due;
    int length;
    unsigned char bytes[LARGEST];
};

struct line {
    const char *name;
    int in, out;
    struct packet *ring;
    unsigned head, tail;
    int64_t free_at; /* when the bottleneck has sent what it holds */
    int64_t packets, dropped;
    float *over;
};

static volatile sig_atomic_t ended;
static int64_t delay, rate, queue;

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

static void take(struct line *line) {
    while (line->tail - line->head < SLOTS) {
        struct packet *packet = &line->ring[line->tail % SLOTS];
        packet->length = (int)read(line->in, packet->bytes, LARGEST);
        if (packet->length <= 0) return;
        packet->arrived = now();
        packet->due = packet->arrived + delay;
        if (rate) {
            int64_t begin = line->free_at > packet->arrived ? line->free_at : packet->arrived;
            if ((begin - packet->arrived) * rate / 8000000000LL + packet->length > queue) {
                line->dropped++;
                continue;
            }
            line->free_at = begin + packet->length * 8000000000LL / rate;
            packet->due = line->free_at + delay;
        }
        line->tail++;
    }
}

static void deliver(struct line *line) {
    while (line->head != line->tail) {
        struct packet *packet = &line->ring[line->head % SLOTS];
        int64_t moment = now();
        if (moment < packet->due) return;
        line->head++;
        if (write(line->out, packet->bytes, packet->length) < 0) continue; /* the device is not up: nobody is there */
        if (line->packets < SAMPLES) line->over[line->packets] = (moment - packet->due) / 1000.0f;
        line->packets++;
    }
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
    if (count != 6 && count != 8) {
        fprintf(stderr, "usage: emulator NAMESPACE DEVICE NAMESPACE DEVICE DELAY_US [RATE_BPS QUEUE_BYTES]\n");
        return 2;
    }
    int left = tun(words[1], words[2]), right = tun(words[3], words[4]);
    delay = atoll(words[5]) * 1000;
    rate = count == 8 ? atoll(words[6]) : 0;
    queue = count == 8 ? atoll(words[7]) : 0;
    struct line lines[2] = {{.name = "forward", .in = left, .out = right}, {.name = "back", .in = right, .out = left}};
    for (int i = 0; i < 2; i++) {
        lines[i].ring = calloc(SLOTS, sizeof(struct packet));
        lines[i].over = calloc(SAMPLES, sizeof(float));
        if (!lines[i].ring || !lines[i].over) die("memory");
    }
    struct sched_param priority = {.sched_priority = 50};
    if (sched_setscheduler(0, SCHED_FIFO, &priority) < 0) fprintf(stderr, "emulator: no real-time priority\n");
    mlockall(MCL_CURRENT | MCL_FUTURE);
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    printf("ready\n");
    fflush(stdout);
    while (!ended) {
        struct pollfd wanted[2] = {{.fd = left, .events = POLLIN}, {.fd = right, .events = POLLIN}};
        int64_t wait = 1000000000;
        for (int i = 0; i < 2; i++)
            if (lines[i].head != lines[i].tail) {
                int64_t rest = lines[i].ring[lines[i].head % SLOTS].due - now() - SPIN;
                if (rest < wait) wait = rest < 0 ? 0 : rest;
            }
        struct timespec limit = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
        ppoll(wanted, 2, &limit, NULL);
        for (int i = 0; i < 2; i++) {
            take(&lines[i]);
            deliver(&lines[i]);
        }
    }
    tell(&lines[0]);
    tell(&lines[1]);
    return 0;
}
