package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/joho/godotenv"
)

// dotenvFile is read in the working directory; the environment wins over it.
const dotenvFile = ".env"

// The sources of a setting's value, as `chatapi config` names them.
const (
	sourceDefault     = "default"
	sourceEnvironment = "environment"
	sourceDotenv      = dotenvFile
)

// layer is one place that settings come from.
type layer struct {
	source string
	values map[string]string
}

// readLayers returns the environment and the .env file, the stronger first.
func readLayers(environ []string) ([]layer, error) {
	env := layer{sourceEnvironment, map[string]string{}}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		env.values[name] = value
	}
	values, err := godotenv.Read(dotenvFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []layer{env}, nil
	case errors.As(err, new(*fs.PathError)):
		return nil, fmt.Errorf("read %s: %w", dotenvFile, err)
	case err != nil: // the library's error quotes the file, secrets included
		return nil, fmt.Errorf("%s: line %d is not NAME=value", dotenvFile, wrongLine(dotenvFile))
	}
	return []layer{env, {sourceDotenv, values}}, nil
}

// wrongLine is the number of the line behind the last one that the file can be read to.
func wrongLine(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 1 // it was read a moment ago
	}
	good, read := 0, ""
	for i, line := range strings.SplitAfter(string(text), "\n") {
		read += line
		if _, err := godotenv.Unmarshal(read); err == nil { // a value may have several lines
			good = i + 1
		}
	}
	return good + 1
}

// find returns a setting's text from the strongest layer that has it. Empty is absent.
func find(layers []layer, s setting) (text, source string, err error) {
	for _, l := range layers {
		if text, source, err = l.find(s); text != "" || err != nil {
			return text, source, err
		}
	}
	return "", "", nil
}

func (l layer) find(s setting) (text, source string, err error) {
	text = l.values[s.name]
	file := ""
	if s.secret || s.file {
		file = l.values[s.name+"_FILE"]
	}
	switch {
	case text != "" && file != "":
		return "", "", fmt.Errorf("set either %s or %s_FILE, not both", s.name, s.name)
	case file == "":
		return text, l.source, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", "", fmt.Errorf("read the file in %s_FILE: %w", s.name, withoutPath(err))
	}
	text = strings.TrimRight(string(content), "\r\n")
	if text == "" {
		return "", "", fmt.Errorf("the file in %s_FILE is empty", s.name)
	}
	return text, l.source + ", file " + file, nil
}

// withoutPath is the cause of a file's error alone: whoever puts a secret where its file's name belongs must not find it
// in the log.
func withoutPath(err error) error {
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err
	}
	return err
}
