/*
 * The other side of a measurement, in C so that it has time to spare. What it does is what the scripts beside it do,
 * which stand in for it where there is no compiler.
 *
 *   peer source UNIT                              a server that sends these bytes (in hexadecimal) over and over
 *   peer sink                                     a server that reads and forgets
 *   peer echo                                     a server that sends back what it receives
 *   peer client PORT CONNECTIONS SIZE ROUNDTRIPS  clients that send SIZE bytes, wait for them to come back, and so on;
 *                                                 after ROUNDTRIPS, if not -1, they close and connect anew; 0 is idle
 *
 * Prints its port, or 0, when it is ready, and ends when its standard input does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void check(int ok, const char *what) {
  if (!ok) {
    perror(what);
    exit(1);
  }
}

static int new_socket(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  check(fd >= 0, "socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#ifdef TCP_CONGESTION
  /* BBR, where it is the default, paces even the loopback, and not twice the same. Accepted sockets inherit it. */
  setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
#endif
  return fd;
}

static struct sockaddr_in loopback(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static void ready(int port) {
  printf("%d\n", port);
  fflush(stdout);
}

static int listener(void) {
  struct sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  int fd = new_socket();
  check(bind(fd, (struct sockaddr *)&address, size) == 0, "bind");
  check(listen(fd, 511) == 0, "listen");
  getsockname(fd, (struct sockaddr *)&address, &size);
  ready(ntohs(address.sin_port));
  return fd;
}

static void send_all(int fd, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes += sent;
    size -= sent;
  }
}

/* Descriptors to wait for. The first is the standard input, whose end is ours. */
static struct pollfd *watched;
static int count, capacity;

static void watch(int fd) {
  if (count == capacity) {
    capacity = capacity * 2 + 64;
    watched = realloc(watched, capacity * sizeof *watched);
  }
  watched[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void forget(int i) {
  close(watched[i].fd);
  watched[i] = watched[--count];
}

static void wait_for_any(void) {
  check(poll(watched, count, -1) > 0, "poll");
  if (watched[0].revents) exit(0);
}

static void source(const char *hex) {
  enum { at_once = 65536, least = 1 << 20 };
  size_t unit = strlen(hex) / 2, size = (least + unit - 1) / unit * unit;
  char *block = malloc(size);
  for (size_t i = 0; i < unit; i++) {
    char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
    block[i] = (char)strtol(digits, NULL, 16);
  }
  for (size_t i = unit; i < size; i += unit) memcpy(block + i, block, unit);
  int server = listener();
  watch(server);
  int fd;
  do {
    wait_for_any();
    fd = accept(server, NULL, NULL);
  } while (fork() != 0 && close(fd) == 0); /* a process for each client; it ends when it can't send any more */
  for (size_t from = 0;; from %= size) {
    ssize_t sent = send(fd, block + from, size - from < at_once ? size - from : at_once, 0);
    if (sent <= 0) exit(0);
    from += sent;
  }
}

/* Serves whoever connects: what is received is sent back, or forgotten. */
static void serve(int answers) {
  static char buffer[262144];
  int server = listener();
  watch(server);
  for (;;) {
    wait_for_any();
    for (int i = count - 1; i > 1; i--) {
      if (!watched[i].revents) continue;
      int fd = watched[i].fd;
      ssize_t size = recv(fd, buffer, sizeof buffer, 0);
      if (size <= 0) {
        forget(i);
      } else if (answers) {
        send_all(fd, buffer, size);
      }
    }
    if (watched[1].revents) watch(accept(server, NULL, NULL));
  }
}

/*
 * A closed connection keeps its pair of ports for a minute, and a client soon has used them all. So every some thousand
 * connections come from another address.
 */
static void choose_source(int fd, int opened) {
#ifdef IP_BIND_ADDRESS_NO_PORT
  struct sockaddr_in address = loopback(0);
  int on = 1;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + opened / 8192);
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  check(bind(fd, (struct sockaddr *)&address, sizeof address) == 0, "bind");
#endif
}

static void client(int port, int connections, int size, int round_trips) {
  char *message = calloc(1, size), *buffer = malloc(size);
  int *missing = calloc(connections + 1, sizeof *missing), *left = calloc(connections + 1, sizeof *left);
  struct sockaddr_in address = loopback(port);
  for (int i = 1; i <= connections; i++) watch(-1);
  for (int opened = 0;; wait_for_any()) {
    for (int i = 1; i <= connections; i++) {
      if (watched[i].fd < 0) {
        int fd = watched[i].fd = new_socket();
        choose_source(fd, opened);
        if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) exit(0); /* our side has ended */
        missing[i] = size;
        left[i] = round_trips;
        if (round_trips != 0) send_all(fd, message, size);
        if (++opened == connections) ready(0);
      } else if (watched[i].revents) {
        ssize_t received = recv(watched[i].fd, buffer, missing[i], 0);
        if (received <= 0) {
          close(watched[i].fd);
          watched[i--].fd = -1; /* connected anew at once */
        } else if ((missing[i] -= received) == 0) {
          missing[i] = size;
          if (--left[i] == 0) {
            shutdown(watched[i].fd, SHUT_WR);
          } else {
            send_all(watched[i].fd, message, size);
          }
        }
      }
    }
  }
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  watch(0);
  if (argc == 3 && strcmp(argv[1], "source") == 0) source(argv[2]);
  if (argc == 2 && strcmp(argv[1], "echo") == 0) serve(1);
  if (argc == 2 && strcmp(argv[1], "sink") == 0) serve(0);
  if (argc == 6 && strcmp(argv[1], "client") == 0) client(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
  fprintf(stderr, "peer: unknown arguments\n");
  return 2;
}
