// SPDX-License-Identifier: Apache-2.0
// Martlet, bench: the bare file server that Fetch is measured against.
//
// One thread, one epoll loop, plaintext. A request is a length-prefixed frame whose first 12 bytes are an
// offset (8) and a length (4), big endian; the answer is a 4-byte length and that range of the file, sent
// with sendfile from the page cache. What it reaches with a given client is what the kernel can carry.
#include "peer.h"

#include <sys/sendfile.h>
#include <sys/stat.h>

enum { REQUEST_MAX = 4096, EVENTS = 256 };

typedef struct {
    int fd;
    uint8_t request[REQUEST_MAX];
    size_t have;
    uint8_t header[4];
    unsigned header_left;
    off_t offset;
    size_t left;
    bool writing;
} Connection;

static int loop;
static int file;
static off_t file_size;

static void close_connection(Connection *connection) {
    close(connection->fd);
    free(connection);
}

static bool busy(const Connection *connection) { return connection->header_left || connection->left; }

/// Takes the next request, if it is complete. False when it is malformed.
static bool next_request(Connection *connection) {
    if (connection->have < 4) return true;
    size_t length = 4 + load_u32(connection->request);
    if (length < 16 || length > REQUEST_MAX) return false;
    if (connection->have < length) return true;
    connection->offset = (off_t)load_u64(connection->request + 4);
    connection->left = load_u32(connection->request + 12);
    if (connection->offset + (off_t)connection->left > file_size) return false;
    store_u32(connection->header, (uint32_t)connection->left);
    connection->header_left = 4;
    connection->have -= length;
    memmove(connection->request, connection->request + length, connection->have);
    return true;
}

static bool write_answer(Connection *connection) {
    while (busy(connection)) {
        ssize_t written;
        if (connection->header_left) {
            written = send(connection->fd, connection->header + 4 - connection->header_left,
                           connection->header_left, MSG_MORE);
            if (written > 0) connection->header_left -= (unsigned)written;
        } else {
            written = sendfile(connection->fd, file, &connection->offset, connection->left);
            if (written > 0) connection->left -= (size_t)written;
        }
        if (written < 0 && errno == EAGAIN) break;
        if (written <= 0) return false;
        if (!busy(connection) && !next_request(connection)) return false;
    }
    if (busy(connection) != connection->writing) {
        connection->writing = busy(connection);
        struct epoll_event event = {
            .events = EPOLLIN | (connection->writing ? EPOLLOUT : 0), .data.ptr = connection};
        epoll_ctl(loop, EPOLL_CTL_MOD, connection->fd, &event);
    }
    return true;
}

static bool read_requests(Connection *connection) {
    ssize_t length =
        read(connection->fd, connection->request + connection->have, REQUEST_MAX - connection->have);
    if (length <= 0) return length < 0 && errno == EAGAIN;
    connection->have += (size_t)length;
    return busy(connection) || next_request(connection);
}

int main(int count, char **arguments) {
    if (count != 2) die("usage: sendfile_loop FILE");
    signal(SIGPIPE, SIG_IGN);
    file = open(arguments[1], O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file < 0 || fstat(file, &status)) die("%s: %s", arguments[1], strerror(errno));
    file_size = status.st_size;
    loop = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_and_announce();
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(loop, events, EVENTS, -1);
        for (int index = 0; index < ready; index++) {
            Connection *connection = events[index].data.ptr;
            if (!connection) {
                int fd;
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    int one = 1;
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    connection = calloc(1, sizeof *connection);
                    connection->fd = fd;
                    event = (struct epoll_event){.events = EPOLLIN, .data.ptr = connection};
                    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
                }
                continue;
            }
            bool alive = true;
            // A full request buffer reads as 0 bytes; it empties when the answer under way is out.
            bool room = connection->have < REQUEST_MAX;
            if (room && (events[index].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) alive = read_requests(connection);
            if (!alive || !write_answer(connection)) close_connection(connection);
        }
    }
}
