# One static binary, no shell, not root. Build: docker build -t tiergate .
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=docker
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /tiergate ./cmd/tiergate
RUN mkdir -p /data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /tiergate /tiergate
COPY --from=build --chown=nonroot:nonroot /data /data
USER nonroot:nonroot
ENV TIERGATE_DATA_DIR=/data
VOLUME /data
EXPOSE 8016 8014 8080
ENTRYPOINT ["/tiergate"]
CMD ["sidecar"]
