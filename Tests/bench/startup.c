// SPDX-License-Identifier: Apache-2.0
// Martlet, bench: how long a broker takes from fork to its first answered request.
//
// `startup RUNS READY_FILE SETTLE_MS [--kill] -- COMMAND…` starts the command, waits for the ready file with inotify,
// connects to the address in it and sends ApiVersions; the clock runs from before the fork to the last byte
// of the answer. It then waits SETTLE_MS, reads the resident size, and ends the broker with SIGTERM, which
// is timed too; with --kill with SIGKILL, so that every start but the first follows a crash. One JSON object with an array for each figure. The command must write its ready file
// atomically (rename), which is what "written when the broker answers" means.
#include "peer.h"

#include <spawn.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <libgen.h>
#include <poll.h>

extern char **environ;

enum { RUNS_MAX = 1000, WAIT_MS = 120000 };

static int read_port(const char *path) {
    char text[4096];
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    char *address = strstr(text, "\"address\"");
    if (!address) return 0;
    char *value = strchr(address + 9, '"');
    char *closing = value ? strchr(value + 1, '"') : NULL;
    if (!closing) return 0;
    *closing = 0;
    char *colon = strrchr(value, ':');
    return colon ? atoi(colon + 1) : 0;
}

static void wait_for(int notifier, const char *path, pid_t pid) {
    uint64_t limit = now_ns() + (uint64_t)WAIT_MS * 1000000u;
    char buffer[4096];
    while (access(path, F_OK)) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) die("the broker ended with status %d before it was ready", status);
        if (now_ns() > limit) die("no ready file within %d s", WAIT_MS / 1000);
        struct pollfd waiting = {.fd = notifier, .events = POLLIN};
        if (poll(&waiting, 1, 100) > 0 && read(notifier, buffer, sizeof buffer) < 0) die("inotify");
    }
}

static void ask_versions(int port) {
    // ApiVersions v0: size, key 18, version 0, correlation id 1, null client id.
    static const uint8_t request[] = {0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff};
    int fd = connect_loopback(port);
    if (write(fd, request, sizeof request) != sizeof request) die("write: %s", strerror(errno));
    uint8_t answer[65536];
    size_t have = 0, wanted = 4;
    while (have < wanted) {
        ssize_t length = read(fd, answer + have, sizeof answer - have);
        if (length <= 0) die("no answer to ApiVersions");
        have += (size_t)length;
        if (have >= 4) wanted = 4 + load_u32(answer);
        if (wanted > sizeof answer) die("absurd answer");
    }
    if (load_u32(answer + 4) != 1 || answer[8] || answer[9]) die("ApiVersions was answered with an error");
    close(fd);
}

static long resident_kib(pid_t pid) {
    char path[64], line[256];
    long kib = -1;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) sscanf(line, "VmRSS: %ld", &kib);
    if (file) fclose(file);
    return kib;
}

static void print_series(const char *name, const double *values, int count, const char *tail) {
    printf("\"%s\": [", name);
    for (int index = 0; index < count; index++) printf("%s%.3f", index ? ", " : "", values[index]);
    printf("]%s", tail);
}

int main(int count, char **arguments) {
    bool kills = count > 4 && !strcmp(arguments[4], "--kill");
    char **command = arguments + (kills ? 6 : 5);
    if (count < (kills ? 7 : 6) || strcmp(command[-1], "--")) die("usage: startup RUNS READY_FILE SETTLE_MS [--kill] -- COMMAND…");
    int runs = atoi(arguments[1]), settle = atoi(arguments[3]);
    const char *ready_file = arguments[2];
    if (runs < 1 || runs > RUNS_MAX) die("RUNS is 1 to %d", RUNS_MAX);
    static double ready[RUNS_MAX], answered[RUNS_MAX], stopped[RUNS_MAX], resident[RUNS_MAX];
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", ready_file);
    int notifier = inotify_init1(IN_CLOEXEC);
    if (inotify_add_watch(notifier, dirname(folder), IN_MOVED_TO | IN_CLOSE_WRITE) < 0) die("inotify: %s", strerror(errno));
    for (int run = 0; run < runs; run++) {
        unlink(ready_file);
        uint64_t start = now_ns();
        pid_t pid;
        int error = posix_spawn(&pid, command[0], NULL, NULL, command, environ);
        if (error) die("%s: %s", command[0], strerror(error));
        wait_for(notifier, ready_file, pid);
        uint64_t seen = now_ns();
        int port = read_port(ready_file);
        if (!port) die("%s has no address", ready_file);
        ask_versions(port);
        uint64_t done = now_ns();
        ready[run] = (double)(seen - start) / 1e6;
        answered[run] = (double)(done - start) / 1e6;
        usleep((useconds_t)settle * 1000);
        resident[run] = (double)resident_kib(pid);
        uint64_t asked = now_ns();
        kill(pid, kills ? SIGKILL : SIGTERM);
        int status;
        waitpid(pid, &status, 0);
        stopped[run] = (double)(now_ns() - asked) / 1e6;
        if (status && !kills) die("the broker ended with status %d after SIGTERM", status);
    }
    printf("{");
    print_series("ready_ms", ready, runs, ", ");
    print_series("answered_ms", answered, runs, ", ");
    print_series("rss_kib", resident, runs, ", ");
    print_series("stop_ms", stopped, runs, "}\n");
    return 0;
}
