package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"vault-plugin-secrets-enterprise-pki/backend/ceremony"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// surroundings is what a run takes from outside.
type surroundings struct {
	In       io.Reader
	Out, Err io.Writer
	Now      func() time.Time
}

// flags are those of all commands.
type flags struct {
	pinFile string
	output  string
	check   bool
	yes     bool
}

// run carries out one command line and returns the exit code of the process.
func run(ctx context.Context, args []string, around surroundings) int {
	root := rootCommand(&app{around: around})
	root.SetArgs(args)
	root.SetOut(around.Out)
	root.SetErr(around.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(around.Err, "pki-ceremony: %s\n", err)
	return fault.KindOf(err).ExitCode()
}

// app is one run of the command.
type app struct {
	around surroundings
	flags  flags
}

func rootCommand(a *app) *cobra.Command {
	root := group("pki-ceremony", "Make and use an offline root CA on a PKCS#11 token",
		rootGroup(a), issuingGroup(a), crlGroup(a), verifyCommand(a))
	root.Version = version
	root.Long = "Make and use an offline root CA on a PKCS#11 token.\n\n" +
		orderHelp("root create") + "\n" + orderHelp("ica sign") + "\n" + orderHelp("crl sign")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.PersistentFlags().StringVar(&a.flags.output, "output", "text", "how steps are written: text, or json for one JSON object per line")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fault.New(fault.Invalid, "%w", err) })
	return root
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	command := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fault.New(fault.Invalid, "unknown command %q; see %s --help", args[0], command.CommandPath())
			}
			return command.Help()
		},
	}
	command.AddCommand(commands...)
	return command
}

func rootGroup(a *app) *cobra.Command {
	create := &cobra.Command{
		Use: "create ORDER.yaml", Args: exactly(1),
		Short: "Make a root: key in the token, certificate, first CRL",
		Long:  "Make a root: key in the token, certificate, first CRL.\n\n" + orderHelp("root create"),
		RunE: func(command *cobra.Command, args []string) error {
			return carryOut(a, args[0], func(c *ceremony.Ceremony, order ceremony.RootOrder) error {
				return c.CreateRoot(command.Context(), order)
			})
		},
	}
	a.orderFlags(create)
	return group("root", "Root CAs", create)
}

func issuingGroup(a *app) *cobra.Command {
	var request string
	sign := &cobra.Command{
		Use: "sign ORDER.yaml --request CSR", Args: exactly(1),
		Short: "Sign the request of an issuing or intermediate CA with the root's key",
		Long:  "Sign the request of an issuing or intermediate CA with the root's key.\n\n" + orderHelp("ica sign"),
		RunE: func(command *cobra.Command, args []string) error {
			return carryOut(a, args[0], func(c *ceremony.Ceremony, order ceremony.IssuingOrder) error {
				csr, err := ceremony.ReadFile("request", request)
				if err != nil {
					return err
				}
				return c.SignIssuing(command.Context(), order, csr)
			})
		},
	}
	sign.Flags().StringVar(&request, "request", "", "file with the PKCS#10 request, PEM or DER")
	a.orderFlags(sign)
	return group("ica", "Issuing CAs", sign)
}

func crlGroup(a *app) *cobra.Command {
	sign := &cobra.Command{
		Use: "sign ORDER.yaml", Args: exactly(1),
		Short: "Sign the root's next CRL",
		Long:  "Sign the root's next CRL: all entries of the previous one, and the new ones.\n\n" + orderHelp("crl sign"),
		RunE: func(command *cobra.Command, args []string) error {
			return carryOut(a, args[0], func(c *ceremony.Ceremony, order ceremony.CRLOrder) error {
				return c.SignCRL(command.Context(), order)
			})
		},
	}
	a.orderFlags(sign)
	return group("crl", "CRLs of a root", sign)
}

func verifyCommand(a *app) *cobra.Command {
	var files ceremony.Artefacts
	verify := &cobra.Command{
		Use: "verify --root FILE [--existing-root] [--crl FILE [--previous-crl FILE]] [--intermediate FILE]... [ICA...]", Args: cobra.ArbitraryArgs,
		Short: "Check a root, its CRL and its issuing CAs; needs no token",
		RunE: func(_ *cobra.Command, args []string) error {
			report, err := a.opening()
			if err != nil {
				return err
			}
			if files.PreviousCRL != "" && files.CRL == "" {
				return fault.Field("--previous-crl", "needs --crl")
			}
			files.CAs = args
			return a.ceremony(report).Verify(files)
		},
	}
	verify.Flags().StringVar(&files.Root, "root", "", "file with the root's certificate")
	verify.Flags().StringVar(&files.CRL, "crl", "", "file with the root's CRL")
	verify.Flags().StringVar(&files.PreviousCRL, "previous-crl", "", "file with the CRL before it, which it must continue")
	verify.Flags().BoolVar(&files.ExistingRoot, "existing-root", false, "the root was made by other software: do not compare it with what root create makes")
	verify.Flags().StringArrayVar(&files.Intermediates, "intermediate", nil, "file with the certificate of a CA between root and issuing CAs; may be repeated")
	return verify
}

// orderFlags are those of the commands that carry out an order.
func (a *app) orderFlags(command *cobra.Command) {
	command.Flags().StringVar(&a.flags.pinFile, "pin-file", "",
		"file with the token's PIN, /dev/fd/N for an open descriptor, - for standard input; without it the terminal is asked")
	command.Flags().BoolVar(&a.flags.check, "check", false,
		"check order, files, token and key, and stop: nothing is signed, recorded or written")
	command.Flags().BoolVar(&a.flags.yes, "yes", false,
		"do not ask for confirmation; without a terminal on standard input nobody is asked")
}

// exactly is cobra.ExactArgs with an error of ours.
func exactly(count int) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) != count {
			return fault.New(fault.Invalid, "usage: %s", command.UseLine())
		}
		return nil
	}
}

// carryOut says what is about to happen, reads the order and does it.
func carryOut[O ceremony.RootOrder | ceremony.IssuingOrder | ceremony.CRLOrder](a *app, path string, do func(*ceremony.Ceremony, O) error) error {
	report, err := a.opening()
	if err != nil {
		return err
	}
	raw, err := ceremony.ReadFile("order", path)
	if err != nil {
		return err
	}
	order, err := ceremony.Decode[O](raw)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	digest, err := ceremony.FileSHA256(path)
	if err != nil {
		return err
	}
	report(ceremony.Step{Name: "order read", Facts: []ceremony.Fact{{Name: "file", Value: path}, {Name: "file SHA-256", Value: digest}}})
	if err := do(a.ceremony(report), order); err != nil {
		return err
	}
	if a.flags.check {
		report(ceremony.Step{Name: "checked: the order can be carried out; nothing was signed, recorded or written"})
		return nil
	}
	report(ceremony.Step{Name: "done"})
	return nil
}

func (a *app) ceremony(report func(ceremony.Step)) *ceremony.Ceremony {
	return ceremony.New(ceremony.Config{PIN: a.pin, Report: report, Now: a.around.Now, Confirm: a.confirm(), CheckOnly: a.flags.check})
}

// opening reports first which program runs: its own digest, to be compared with the
// one that was published, before it touches anything.
func (a *app) opening() (func(ceremony.Step), error) {
	report, err := a.reporter()
	if err != nil {
		return nil, err
	}
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	digest, err := ceremony.FileSHA256(path)
	if err != nil {
		return nil, err
	}
	report(ceremony.Step{Name: "this is pki-ceremony " + version, Facts: []ceremony.Fact{
		{Name: "program", Value: path},
		{Name: "program SHA-256", Value: digest},
		{Name: "clock", Value: a.around.Now().UTC().Format(time.RFC3339)},
	}})
	return report, nil
}
